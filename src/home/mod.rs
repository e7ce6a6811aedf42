//! Files of the user on this machine: directories, keys, trusted rosters, and files that a command names.
pub mod checkout;
pub mod directories;
pub mod keys;
pub mod named_file;
pub mod parameter_values;
pub mod trusted_rosters;
