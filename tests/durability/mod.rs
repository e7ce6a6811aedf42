//! Tests of the store after crashes, backups, manual edits and upgrades from earlier versions.

mod backup_update;
mod cluster;
mod crash;
mod endurance;
mod packed_tiles;
pub(crate) mod random;
mod service_manager;
pub(crate) mod shim;
pub(crate) mod store_by_hand;
mod store_care;
mod store_move;
mod stores;
mod torture;
