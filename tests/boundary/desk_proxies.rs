//! A desk behind a proxy that passes its connections through, and a desk that is set up as `docs/operate.md` says.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::companion::digits;
use crate::desk::{DeskBrowser, certificates, desk_under, roster_file, world, zoe};
use crate::passkey::HOST;
use crate::proxies::{Proxy, free_port, installed};
use crate::support::people::{Key, alice, bob, carol, carol_too, dora, erin, frank, oscar, robot};
use crate::support::{DRAFT, World, bytes_of, exited, id_of, said_at_exit, wait_for};

/// Starts a desk that browsers reach at the port `outside`, and that reads the headers of this proxy.
fn desk_behind(world: &World, outside: u16, listen: &str, proxy: &str) -> DeskBrowser {
    let (host, made) = (format!("{HOST}:{outside}"), certificates());
    let words = ["--host", &host, "--listen", listen, "--proxy-from", proxy];
    let mut command = desk_under(world, &world.wire.url, &words);
    command
        .arg("--certificate")
        .arg(made.path("desk.pem"))
        .arg("--certificate-key")
        .arg(made.path("desk.key"));
    DeskBrowser::running(world, made, command)
}

/// Returns a header for a browser with this address.
fn header(browser: IpAddr) -> Vec<u8> {
    let (family, addresses) = match browser {
        IpAddr::V4(v4) => (0x11, [v4.octets(), Ipv4Addr::LOCALHOST.octets()].concat()),
        IpAddr::V6(v6) => (0x21, [v6.octets(), Ipv6Addr::LOCALHOST.octets()].concat()),
    };
    // Two ports, and a part that the desk does not need.
    let rest = [&addresses[..], &[200, 1, 1, 187, 4, 0, 2, 0, 0]].concat();
    [
        b"\r\n\r\n\0\r\nQUIT\n\x21",
        &[family, 0, rest.len() as u8][..],
        &rest,
    ]
    .concat()
}

/// A proxy that passes connections to this port, each behind the bytes that a test chose.
struct PassingProxy {
    port: u16,
    header: Arc<Mutex<Vec<u8>>>,
}

impl PassingProxy {
    fn before(desk: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let header = Arc::<Mutex<Vec<u8>>>::default();
        let chosen = header.clone();
        std::thread::spawn(move || {
            for browser in listener.incoming().flatten() {
                let Ok(mut desk) = TcpStream::connect(("127.0.0.1", desk)) else {
                    continue;
                };
                let _ = desk.write_all(&chosen.lock().expect("a lock"));
                for (from, to) in [(&browser, &desk), (&desk, &browser)] {
                    let (mut from, mut to) = (
                        from.try_clone().expect("a copy"),
                        to.try_clone().expect("a copy"),
                    );
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Self { port, header }
    }

    fn browser_is(&self, address: &str) {
        *self.header.lock().expect("a lock") = header(address.parse().expect("an address"));
    }
}

/// Makes attempts until the desk refuses one.
fn use_up(desk: &DeskBrowser) {
    let refused = (0..200).find(|_| desk.begin("zoe", "/").status == 429);
    assert!(refused.is_some(), "no limit");
}

/// Returns true if the address has no attempt left, or only those of the last seconds.
fn is_used_up(desk: &DeskBrowser) -> bool {
    (0..8).any(|_| desk.begin("zoe", "/").status == 429)
}

#[test]
fn a_desk_counts_attempts_by_the_address_that_a_named_proxy_tells() {
    let Some(world) = world() else { return };
    let inside = free_port();
    let proxy = PassingProxy::before(inside);
    let mut desk = desk_behind(
        &world,
        proxy.port,
        &format!("127.0.0.1:{inside}"),
        "127.0.0.1",
    );
    proxy.browser_is("192.0.2.1");
    use_up(&desk);
    assert!(
        desk.has_said()
            .contains("refused a request from 192.0.2.1: too many attempts"),
        "{}",
        desk.has_said()
    );
    proxy.browser_is("::ffff:192.0.2.1");
    assert!(is_used_up(&desk), "the same address in another form");
    // Other addresses have their own limits, and those of one IPv6 network share one.
    proxy.browser_is("192.0.2.2");
    desk.log_in("zoe", &zoe(), "/");
    proxy.browser_is("2001:db8::1");
    use_up(&desk);
    proxy.browser_is("2001:db8::2");
    assert!(is_used_up(&desk), "the same network");
    proxy.browser_is("2001:db8:0:1::1");
    assert!(!is_used_up(&desk), "another network");
}

#[test]
fn a_desk_closes_each_connection_of_a_named_proxy_without_a_header_and_says_why() {
    let Some(world) = world() else { return };
    let inside = free_port();
    let desk = desk_behind(&world, inside, &format!("127.0.0.1:{inside}"), "127.0.0.1");
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 the start of a handshake";
    let unix = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8"[..], &[0; 216]].concat();
    for (bytes, why) in [
        (
            &hello[..],
            "does not begin with a header of the PROXY protocol",
        ),
        (
            b"PROXY TCP4 192.0.2.1 127.0.0.1 51201 443\r\n",
            "does not begin with a header of the PROXY protocol",
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c",
            "another version, or its connection does not use TCP",
        ),
        (&unix, "another version, or its connection does not use TCP"),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b",
            "the length of the header is wrong",
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
            "the length of the header is wrong",
        ),
    ] {
        let before = desk.has_said().matches(why).count();
        let mut stream = TcpStream::connect(("127.0.0.1", inside)).expect("connected");
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a limit");
        stream.write_all(bytes).expect("sent");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{answer:?}");
        wait_for(why, || desk.has_said().matches(why).count() > before);
        let said = desk.has_said();
        let line = said.lines().last().expect("a line");
        assert!(
            line.starts_with("closed a connection from the proxy 127.0.0.1: ")
                && line.contains(why),
            "{said}"
        );
    }
    // A header byte by byte gets ten seconds in all.
    let began = Instant::now();
    let mut slow = TcpStream::connect(("127.0.0.1", inside)).expect("connected");
    let whole = header("192.0.2.1".parse().expect("an address"));
    for byte in &whole {
        if slow.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    desk.wait_said("the whole header did not come within 10 seconds");
    assert!(
        (9..16).contains(&began.elapsed().as_secs()),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_desk_reads_no_header_from_an_address_that_is_not_named() {
    let Some(world) = world() else { return };
    let inside = free_port();
    let proxy = PassingProxy::before(inside);
    let desk = desk_behind(
        &world,
        proxy.port,
        &format!("127.0.0.1:{inside}"),
        "127.0.0.9",
    );
    // Without a header, the connection works. With a header, it is no handshake.
    assert!(desk.is_trusted("ca.pem"));
    proxy.browser_is("192.0.2.1");
    assert!(!desk.is_trusted("ca.pem"));
    proxy.header.lock().expect("a lock").clear();
    assert!(desk.is_trusted("ca.pem"));
    use_up(&desk);
    assert!(
        desk.has_said()
            .contains("refused a request from 127.0.0.1: too many attempts"),
        "{}",
        desk.has_said()
    );
    assert!(
        !desk.has_said().contains("192.0.2.1"),
        "{}",
        desk.has_said()
    );
}

#[test]
fn people_log_in_and_sign_at_a_desk_behind_haproxy_as_the_page_describes_it_while_one_visitor_is_limited()
 {
    let Some(world) = world() else { return };
    let Some(path) = installed("a desk behind haproxy", "haproxy") else {
        return;
    };
    let proposal = world.propose("plain:true", json!({}));
    let inside = format!("127.0.0.1:{}", free_port());
    let proxy = Proxy::start("desk", &path, [&inside, &inside], 60);
    let mut desk = desk_behind(&world, proxy.port, &inside, "127.0.0.1");
    wait_for("haproxy finds the desk", || desk.is_trusted("ca.pem"));
    desk.from = "127.0.0.2";
    use_up(&desk);
    // Longer than three checks of haproxy, which also begin with a header.
    std::thread::sleep(Duration::from_secs(7));
    desk.from = "127.0.0.3";
    desk.log_in("zoe", &zoe(), "/");
    let signed = desk.sign(&proposal, &digits(&proposal), &zoe(), &bytes_of(&proposal));
    assert_eq!(signed.status, 303, "{}", signed.body);
    let said = desk.has_said();
    assert!(
        said.contains("refused a request from 127.0.0.2: too many attempts"),
        "{said}"
    );
    assert!(
        !said.contains("closed a connection"),
        "{said}\n{}",
        proxy.words()
    );
}

/// The commands of the page that set up a desk.
fn commands_of_the_page() -> Vec<Vec<String>> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operate.md"))
        .expect("the page");
    let block = page
        .split("\n## A desk\n")
        .nth(1)
        .and_then(|rest| rest.split("```sh").nth(1))
        .expect("a block");
    let lines = block.split("```").next().expect("an end").lines().skip(1);
    lines
        .map(|line| {
            let words = line
                .split(" #")
                .next()
                .expect("a command")
                .split_whitespace();
            words.skip(1).map(str::to_owned).collect()
        })
        .collect()
}

#[test]
fn a_desk_is_set_up_with_the_commands_of_the_page_without_a_key_and_a_token() {
    let Some(world) = world() else { return };
    let roster = roster_file(&world);
    let commands = commands_of_the_page();
    let words: Vec<&str> = commands.iter().map(|words| &*words[0]).collect();
    assert_eq!(words, ["roster", "boundary", "console"]);
    let made = certificates();
    let here = |words: &[String]| -> Command {
        let replaced = words.iter().map(|word| match word.as_str() {
            "https://boundary.example.com" => world.wire.url.clone(),
            "roster.json" => roster.to_str().expect("UTF-8").to_owned(),
            "desk.example.com" => HOST.to_owned(),
            "fullchain.pem" => made.path("desk.pem").to_str().expect("UTF-8").to_owned(),
            "privkey.pem" => made.path("desk.key").to_str().expect("UTF-8").to_owned(),
            word => word.to_owned(),
        });
        let replaced: Vec<String> = replaced.collect();
        world.program(&replaced.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let added = exited(here(&commands[1]).output().expect("it starts"), 0);
    let id = world.boundary()["id"].as_str().expect("an id").to_owned();
    assert!(
        String::from_utf8_lossy(&added.stdout).contains(&id),
        "{added:?}"
    );
    assert!(
        String::from_utf8_lossy(&added.stderr).contains("the roster in force was not read"),
        "{added:?}"
    );
    let mut console = here(&commands[2]);
    console.args(["--listen", "127.0.0.1:0"]);
    let mut desk = DeskBrowser::running(&world, made, console);
    let proposal = world.propose("plain:true", json!({}));
    desk.log_in("zoe", &zoe(), "/");
    assert!(desk.get("/").body.contains("Yours to move (1)"));
    let signed = desk.sign(&proposal, &digits(&proposal), &zoe(), &bytes_of(&proposal));
    assert_eq!(signed.status, 303, "{}", signed.body);
    world.sign(&proposal, &[&alice()]).ok(200);
    world.assert_verified(&world.until(id_of(&proposal), "finished"));
}

#[test]
fn a_boundary_is_added_without_a_key_and_a_token_only_if_it_knows_a_person_of_the_roster_file() {
    let Some(world) = world() else { return };
    let add = |roster: &str, more: &[&str]| {
        let mut command = world.program(&[
            "boundary",
            "add",
            "prod",
            "--url",
            &world.wire.url,
            "--roster",
            roster,
        ]);
        command.args(more).output().expect("it starts")
    };
    let list = || std::fs::read_to_string(world.path("home/.config/countersign/boundaries.toml"));
    // A digest names nobody.
    said_at_exit(
        add(world.started["roster"].as_str().expect("a digest"), &[]),
        126,
        "unauthenticated",
    );
    // A boundary of other people.
    let path = roster_file(&world);
    let mut other = World::prepared(|_| {});
    let mut people = other.roster().to_string();
    for (number, key) in [
        alice(),
        bob(),
        carol(),
        carol_too(),
        dora(),
        frank(),
        erin(),
        robot(),
        oscar(),
    ]
    .into_iter()
    .enumerate()
    {
        people = people.replace(
            key.ssh.line(),
            Key::of("stranger", 100 + number as u8).ssh.line(),
        );
    }
    other.write(DRAFT, &people);
    other.start();
    let mut elsewhere = world.program(&[
        "boundary",
        "add",
        "prod",
        "--url",
        &other.wire.url,
        "--roster",
    ]);
    said_at_exit(
        elsewhere.arg(&path).output().expect("it starts"),
        126,
        "unauthenticated",
    );
    // A token that does not exist, and a key that the boundary does not know, are told.
    let roster = path.to_str().expect("UTF-8");
    world.write("wrong.token", &format!("cst_{}", "x".repeat(43)));
    let wrong = world.path("wrong.token");
    said_at_exit(
        add(roster, &["--token-file", wrong.to_str().expect("UTF-8")]),
        126,
        "this token does not exist",
    );
    world.write(
        "stranger.pem",
        Key::of("stranger", 222).secret.to_pkcs8_v1_pem().as_str(),
    );
    let stranger = world.path("stranger.pem");
    said_at_exit(
        add(roster, &["--key", stranger.to_str().expect("UTF-8")]),
        126,
        "unauthenticated",
    );
    assert!(list().is_err(), "nothing was added");
    exited(add(roster, &[]), 0);
    assert!(
        list()
            .expect("a list")
            .contains(world.boundary()["id"].as_str().expect("an id"))
    );
}
