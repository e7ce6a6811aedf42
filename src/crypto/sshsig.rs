//! sshsig
