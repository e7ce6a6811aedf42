//! Clients that send garbage, stall or ask for too much.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{World, said, said_at_exit, wait_for};
use crate::tls::{TLS, connect, curl, is_up, port, prepared, rest, serving};

/// Returns a ClientHello of TLS 1.2 in records of at most 16 KiB, with a server name of this length.
fn client_hello(name: usize) -> Vec<u8> {
    let two = |length: usize| u16::try_from(length).expect("a length").to_be_bytes();
    let mut entry = vec![0];
    entry.extend(two(name));
    entry.extend(vec![b'a'; name]);
    let mut extension = vec![0, 0];
    extension.extend(two(entry.len() + 2));
    extension.extend(two(entry.len()));
    extension.extend(entry);
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    body.extend(two(extension.len()));
    body.extend(extension);
    let mut message = vec![1, 0];
    message.extend(two(body.len()));
    message.extend(body);
    let record = |part: &[u8]| [&[22, 3, 1][..], &two(part.len()), part].concat();
    message.chunks(16_000).flat_map(record).collect()
}

/// The first bytes of an alert of TLS.
const ALERT: u8 = 21;

#[test]
fn plain_http_on_the_port_of_tls_gets_an_explanation() {
    let (world, authority) = serving();
    for request in [
        "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "POST / HTTP/1.0\r\n\r\n",
        "G",
    ] {
        let mut stream = connect(&world);
        stream.write_all(request.as_bytes()).expect("written");
        let text = String::from_utf8(rest(stream)).expect("UTF-8");
        assert!(
            text.starts_with("HTTP/1.1 400 Bad Request\r\n") && text.contains("https://"),
            "{text}"
        );
    }
    let url = format!("http://localhost:{}/health", port(&world));
    let output = world
        .command("curl")
        .args(["-sS", &url])
        .output()
        .expect("curl");
    assert!(
        said(&output).contains("this port accepts only TLS"),
        "{output:?}"
    );
    let url = format!("http://localhost:{}", port(&world));
    said_at_exit(
        world
            .program(&["registry", "list", "--url", &url])
            .output()
            .expect("the program"),
        2,
        "https://",
    );
    assert!(is_up(&world, &authority));
}

#[test]
fn garbage_in_place_of_a_handshake_ends_the_connection() {
    let (world, authority) = serving();
    let hello = client_hello(9);
    let garbage: Vec<u8> = (0..40_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut cut = hello.clone();
    cut.truncate(hello.len() / 2);
    let mut longer = vec![22, 3, 1, 0x3f, 0xff, 1, 0xff, 0xff, 0xff];
    longer.extend(vec![0; 0x3fff - 4]);
    for (name, bytes) in [
        ("zeros", vec![0; 4000]),
        ("random", [&[0x80][..], &garbage].concat()),
        (
            "garbage before the hello",
            [&b"\x00\x01\x02"[..], &hello].concat(),
        ),
        ("a second half of a hello", hello[20..].to_vec()),
        (
            "a hello with a changed length",
            [&hello[..9], &[0xff, 0xff], &hello[11..]].concat(),
        ),
        ("a message of 16 MB", longer.repeat(5)),
        (
            "application data first",
            [&[23, 3, 3, 0, 5][..], b"hello"].concat(),
        ),
        ("a name of 16 KB", client_hello(16 << 10)),
        ("a name of 60 KB", client_hello(60_000)),
        ("a hello without the extensions of TLS", hello.clone()),
        ("half a hello, then the end", cut),
        ("nothing, then the end", Vec::new()),
    ] {
        let mut stream = connect(&world);
        // The service may close the connection before it has read everything.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let answer = rest(stream);
        assert!(
            answer.is_empty() || answer[0] == ALERT,
            "{name}: {answer:?}"
        );
        assert!(is_up(&world, &authority), "{name}");
    }
}

#[test]
fn half_open_handshakes_end_at_the_deadline_and_others_are_served() {
    const CLIENTS: usize = 1000;
    let (world, authority) = serving();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )
    .expect("more open files");
    if limit.maximum.is_some_and(|most| most < 8192) {
        crate::support::not_run(
            "half_open_handshakes_end_at_the_deadline_and_others_are_served",
            "this process may open fewer than 8192 files, so the service accepts fewer connections",
        );
        return;
    }
    let hello = client_hello(9);
    let began = Instant::now();
    let mut half: Vec<TcpStream> = (0..CLIENTS).map(|_| connect(&world)).collect();
    for (number, stream) in half.iter_mut().enumerate() {
        // Some clients send nothing, and the others an incomplete ClientHello.
        stream
            .write_all(&hello[..number % (hello.len() / 2)])
            .expect("written");
    }
    // A client that sends one byte at a time has the same deadline.
    let mut slow = connect(&world);
    for byte in &hello[..20] {
        assert!(is_up(&world, &authority), "another client is served");
        slow.write_all(&[*byte]).expect("written");
    }
    half.push(slow);
    for stream in &half {
        stream.set_nonblocking(true).expect("set");
        let open = (&*stream)
            .read(&mut [0])
            .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(
            open || began.elapsed() > Duration::from_secs(9),
            "the handshake has time until its deadline"
        );
        stream.set_nonblocking(false).expect("set");
    }
    for stream in half {
        rest(stream);
    }
    assert!(is_up(&world, &authority));
}

#[test]
fn connections_above_the_maximum_get_an_alert_until_there_is_room() {
    let (mut world, authority) = prepared(TLS);
    // A quarter of the files are connections.
    world.setup.before = ["prlimit", "--nofile=256:256"].map(str::to_owned).to_vec();
    world.start();
    world.make_tokens();
    // Connections that send nothing give their places to others.
    let silent: Vec<TcpStream> = (0..128).map(|_| connect(&world)).collect();
    assert!(is_up(&world, &authority));
    drop(silent);
    let url = format!("https://localhost:{}", port(&world));
    let bearer = format!("Authorization: Bearer {}", world.agent);
    // Each of these clients has a request in progress, whose body does not end.
    let hold = |_| {
        let mut client = world.command("curl");
        client.args([
            "-sk",
            "-X",
            "POST",
            "-T",
            "-",
            "-H",
            &bearer,
            "-H",
            "Content-Type: application/json",
        ]);
        client
            .arg(format!("{url}/v1/proposals"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("curl")
    };
    // A new connection can take the place of one that has not sent its request yet, so more clients come than fit.
    let mut held: Vec<Child> = (0..96).map(hold).collect();
    wait_for("all places are taken", || {
        curl(&world, &authority, &[], "/health").0 == Some(35)
    });
    let (code, text) = curl(&world, &authority, &[], "/health");
    assert!(
        code == Some(35) && text.contains("alert internal error"),
        "{text}"
    );
    let mut command = world.program(&["registry", "list", "--url", &url, "--cacert"]);
    let text = said(
        &command
            .arg(authority.path("ca.pem"))
            .output()
            .expect("a command"),
    );
    assert!(
        text.contains("has no room for this connection") && text.contains("try again"),
        "{text}"
    );
    assert!(
        !text.contains("--cert") && !text.contains("right address"),
        "{text}"
    );
    for client in &mut held {
        client.kill().expect("killed");
        client.wait().expect("ended");
    }
    wait_for("there is room", || is_up(&world, &authority));
}

#[test]
fn a_client_that_does_not_read_its_answers_loses_its_connection() {
    let (world, authority) = serving();
    // The client sends many requests, reads nothing, and waits.
    let script = "import socket, ssl, sys, time\n\
        context = ssl.create_default_context(cafile=sys.argv[2])\n\
        s = socket.socket()\n\
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)\n\
        s.connect(('127.0.0.1', int(sys.argv[1])))\n\
        s = context.wrap_socket(s, server_hostname='localhost')\n\
        s.settimeout(5)\n\
        request = b'GET /openapi.json HTTP/1.1\\r\\nhost: localhost:%d\\r\\n\\r\\n' % int(sys.argv[1])\n\
        try:\n    for _ in range(300): s.sendall(request)\n\
        except TimeoutError: pass\n\
        print('sent', flush=True)\n\
        sys.stdin.read()\n";
    let sockets = || connections(&world);
    let before = sockets();
    let mut client = world.command("python3");
    client
        .args(["-c", script, &port(&world).to_string()])
        .arg(authority.path("ca.pem"));
    let pipes = || std::process::Stdio::piped();
    let mut client = client
        .stdin(pipes())
        .stdout(pipes())
        .spawn()
        .expect("python3");
    let mut line = [0; 5];
    client
        .stdout
        .as_mut()
        .expect("a pipe")
        .read_exact(&mut line)
        .expect("a line");
    assert!(sockets() > before, "the service holds the connection");
    let deadline = Instant::now() + Duration::from_secs(60);
    while sockets() > before {
        assert!(
            Instant::now() < deadline,
            "the service keeps a connection that nobody reads"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(client.stdin.take());
    client.wait().expect("ended");
    assert!(is_up(&world, &authority));
}

/// Returns the number of established connections to the port of the service, from its side.
fn connections(world: &World) -> usize {
    let sockets = std::fs::read_dir(format!("/proc/{}/fd", world.pid()))
        .expect("its descriptors")
        .flatten();
    sockets
        .filter(|entry| {
            std::fs::read_link(entry.path())
                .is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        })
        .count()
}
