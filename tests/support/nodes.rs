//! Two nodes of one boundary with a PostgreSQL database.

use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use super::people::{self, alice, envelope};
use super::postgres::cluster::Cluster;
use super::{Setup, World};

pub fn nodes(test: &str) -> Option<(Cluster, World, World)> {
    nodes_with(test, |_| {})
}

/// Returns a server with the schema of a boundary, and the two nodes of the boundary. No node runs yet.
pub fn nodes_with(test: &str, change: impl Fn(&mut Setup)) -> Option<(Cluster, World, World)> {
    let server = Cluster::start(test, "")?;
    let (one, two) = (node(&server, "one", &change), node(&server, "two", &change));
    server.migrate(&one);
    Some((server, one, two))
}

/// Returns a node with the schema of this server.
pub fn node(server: &Cluster, name: &str, change: impl Fn(&mut Setup)) -> World {
    World::prepared(|setup| {
        change(setup);
        setup.config = server.config(&server.socket_url("service"), name) + &setup.config;
    })
}

pub fn start(world: &mut World) {
    world.start();
    world.make_tokens();
}

/// Starts a node that becomes active later.
pub fn standby(mut world: World) -> JoinHandle<World> {
    let starting = std::thread::spawn(move || {
        world.start();
        world
    });
    std::thread::sleep(Duration::from_secs(2));
    assert!(!starting.is_finished(), "the other node is active");
    starting
}

/// Returns a new approved authorization.
pub fn signed(world: &World, text: &str) -> Value {
    let predicate = world.authorization("say:echo", json!({"text": text}));
    envelope(&people::authorization(&predicate), &[&alice()])
}

/// Gives `to` the tokens of `from`, which are rows of the database.
pub fn same_tokens(from: &World, to: &mut World) {
    to.agent.clone_from(&from.agent);
    to.reader.clone_from(&from.reader);
    to.courier.clone_from(&from.courier);
}

/// Kills the active node, and returns the standby, which takes over.
pub fn killed(one: &mut World, standby: JoinHandle<World>) -> World {
    one.kill9();
    let mut two = standby.join().expect("the standby");
    same_tokens(one, &mut two);
    two
}

/// Starts the second node, kills the active node, and returns the second node.
pub fn take_over(one: &mut World, two: World) -> World {
    let standby = standby(two);
    killed(one, standby)
}

/// Says that node one will never come back, with the configuration of another node.
pub fn lose_node_one(world: &World) -> std::process::Output {
    let mut command = world.boundary_command(&["node", "lost", "one", "--config"]);
    command.arg(world.path("b")).output().expect("node lost")
}
