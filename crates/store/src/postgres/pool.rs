//! Connections beside the connection of the writer, which several threads share.

use crate::{
    IdlePool, Link, ServerSettings, StoreFault, StoreResult,
    postgres::{schema, settings::unreachable},
    server_of, waits,
};
use documents::locked;

/// A pool of connections with the same options.
pub struct Pool {
    pub(super) settings: ServerSettings,
    options: &'static str,
    reads: bool,
    /// True if the schema can have only a part of the rows of another store, during a move or a restore.
    pub(super) of_copy: bool,
    links: IdlePool<PooledLink>,
}

/// A connection, and start, identity and timeline of its server.
struct PooledLink {
    link: Link,
    server: String,
}

impl Pool {
    /// Opens no connection yet. At most `most` connections are opened later.
    pub const fn new(settings: ServerSettings, options: &'static str, most: usize) -> Self {
        Self {
            settings,
            options,
            reads: false,
            of_copy: false,
            links: IdlePool::new(most),
        }
    }

    /// Opens no connection yet. The connections can't write.
    pub fn of_readers(settings: ServerSettings, options: &'static str, most: usize) -> Self {
        Self {
            reads: true,
            ..Self::new(settings, options, most)
        }
    }

    /// Works with an idle connection. If the connection was lost, the function tries once more with a new connection.
    pub fn with<T, E: From<StoreFault>>(
        &self,
        work: impl Fn(&Link) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut place = self.links.place();
        for last in [false, true] {
            if place
                .connection
                .as_ref()
                .is_none_or(|pooled| pooled.link.is_lost() || !self.is_of_server(&pooled.server))
            {
                place.connection = None;
                place.connection = Some(self.connect()?);
            }
            let Some(PooledLink { link, .. }) = &place.connection else {
                break;
            };
            match work(link) {
                Err(_) if !last && link.is_lost() => {}
                result => return result,
            }
        }
        Err(unreachable("using the database", "the connection was lost twice").into())
    }

    /// Returns false if a checked connection of this service leads to another server.
    fn is_of_server(&self, server: &str) -> bool {
        let checked = locked(&self.settings.server);
        checked.is_empty() || *checked == server
    }

    fn connect(&self) -> StoreResult<PooledLink> {
        const DURING: &str = "opening a connection to the database";
        let link = Link::open(&self.settings, self.options)?;
        if link.value(DURING, "SELECT pg_is_in_recovery()", values![])? {
            // A standby can become the primary server.
            let why = "is a standby, which can be behind; name the primary server in the URL";
            return Err(waits(format!(
                "the database {} {why}",
                self.settings.place()
            )));
        }
        let server = server_of(&link)?;
        if !self.is_of_server(&server) {
            let why = "leads to another server, or the server restarted, and the service checks the server first";
            return Err(waits(format!(
                "a new connection to the database {} {why}",
                self.settings.place()
            )));
        }
        let check = if self.of_copy {
            schema::check_objects
        } else {
            schema::check
        };
        check(&link, &self.settings)?;
        if self.reads {
            // As an option of the session, this setting would make each server look like a standby if the URL names
            // several servers. A pooler would pass the setting on to other sessions, so it is set after the check that
            // refuses poolers.
            link.script(DURING, "SET default_transaction_read_only = on")?;
        }
        Ok(PooledLink { link, server })
    }
}
