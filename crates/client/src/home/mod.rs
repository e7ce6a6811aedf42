//! Files of the user on this machine: directories, keys, trusted rosters, and files that the user names as arguments.
pub mod boundaries;
pub mod directories;
pub mod keys;
pub mod named_file;
pub mod parameter_values;
pub mod roster_versions;
pub mod trusted_rosters;
