//! What a person keeps on this machine: directories, keys, trusted rosters, files that a command names.
pub mod checkout;
pub mod directories;
pub mod keys;
pub mod named_file;
pub mod parameters;
pub mod trusted_rosters;
