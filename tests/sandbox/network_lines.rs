//! Programs of everyday steps reach real servers on another host by name and by number, also the lines of `docs/runbooks.md`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::hosts::with_hosts;
use crate::neighbour::{Neighbour, has, sh};
use crate::runs::{Bench, err, out, plan};
use crate::support::host::not_run;
use documents::Profile;
use sandbox::{End, Plan};

/// Runs a script, which must end with exit code 0, and returns its output.
fn said(bench: &Bench, profile: &Profile, plan: Plan) -> String {
    let mut report = bench.run_with(profile, plan);
    let (text, complaints) = (out(&mut report), err(&mut report));
    assert_eq!(report.end, End::Exited(0), "{text}{complaints}");
    text
}

/// Returns the lines of the block in the docs, each with the hosts in its comment.
fn lines() -> Vec<(String, Vec<String>)> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks.md"))
        .expect("the page");
    let (_, block) = page
        .split_once("tests/sandbox/network_lines.rs plays")
        .expect("the block");
    let block = block.split_once('\n').expect("a line").1;
    let block = block.split_once("```").expect("its end").0;
    let line = |line: &str| {
        let (command, hosts) = line.split_once("# network=").expect("the hosts");
        (
            command.trim().to_owned(),
            hosts.split(',').map(str::to_owned).collect(),
        )
    };
    block.lines().map(line).collect()
}

#[test]
fn the_lines_of_the_docs_reach_real_servers() {
    const NAME: &str = "network_lines::the_lines_of_the_docs_reach_real_servers";
    let Some(mut world) = Neighbour::enter(NAME) else {
        return;
    };
    Neighbour::names(&["10.77.0.2 db.internal web.internal k8s.internal api.internal"]);
    let bench = Bench::strict();
    let lines = lines();
    assert_eq!(lines.len(), 4);
    let play = |plays: &str, plan_of: &dyn Fn(&str) -> (Plan, Vec<String>)| {
        let (line, hosts) = lines
            .iter()
            .find(|(line, _)| line.starts_with(plays))
            .expect(plays);
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let (plan, read) = plan_of(line);
        let mut profile = with_hosts(&hosts, &hosts, &[]);
        profile.read = read;
        said(&bench, &profile, plan)
    };
    let env = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let dir = world.path("files");
    fs::create_dir(&dir).expect("a directory");
    fs::set_permissions(world.path(""), fs::Permissions::from_mode(0o755)).expect("mode");
    let read = || vec![dir.canonicalize().expect("real").display().to_string()];
    let file = |name: &str| {
        dir.canonicalize()
            .expect("real")
            .join(name)
            .display()
            .to_string()
    };
    let in_dir = |line: &str| {
        format!(
            "cd {} && {line}",
            dir.canonicalize().expect("real").display()
        )
    };

    if let Some(address) = postgres(&mut world, NAME) {
        assert_eq!(address, "10.77.0.2:5432");
        let text = play("psql", &|line| {
            (
                Plan {
                    env: env("DB_URL", "postgres://postgres@db.internal/postgres"),
                    ..plan("bash", line)
                },
                vec![],
            )
        });
        assert!(text.contains("(1 row)"), "{text}");
        let number = with_hosts(&["10.77.0.2:5432"], &["10.77.0.2:5432"], &[]);
        let text = said(
            &bench,
            &number,
            plan(
                "bash",
                "psql -X postgres://postgres@10.77.0.2/postgres -Atc 'SELECT 1'",
            ),
        );
        assert_eq!(text, "1\n");
    }
    if has("sshd") && has("ssh-keygen") {
        let keys = format!(
            "ssh-keygen -q -t ed25519 -N '' -f {0}/host && ssh-keygen -q -t ed25519 -N '' -f {0}/key && mkdir -p /run/sshd && \
             cp {0}/key.pub {0}/authorized && chmod 600 {0}/authorized && \
             echo \"web.internal,10.77.0.2 $(cut -d' ' -f1,2 {0}/host.pub)\" > {0}/known_hosts && \
             printf 'Host web.internal\\n' > {0}/config",
            dir.display()
        );
        sh(&keys);
        let me = "root";
        let authorized = format!("AuthorizedKeysFile={}/authorized", dir.display());
        let host_key = format!("HostKey={}/host", dir.display());
        let mut sshd = world.there("/usr/sbin/sshd");
        sshd.args([
            "-D",
            "-e",
            "-f",
            "/dev/null",
            "-o",
            &host_key,
            "-o",
            &authorized,
            "-o",
            "StrictModes=no",
        ]);
        sshd.args(["-o", "UsePAM=no", "-o", "PermitRootLogin=prohibit-password"]);
        world.start(&mut sshd);
        world.wait_for_port("10.77.0.2", 22);
        let key = fs::read_to_string(dir.join("key")).expect("the key");
        // A secret of the run is a private file of its user.
        let private = format!(
            "umask 077; cat > \"$HOME/key\" <<'END'\n{key}END\nexport SSH_KEY=\"$HOME/key\"; "
        );
        let text = play("ssh", &|line| {
            (
                plan(
                    "bash",
                    &format!(
                        "{private}{}",
                        in_dir(&line.replace("deploy@", &format!("{me}@")))
                    ),
                ),
                read(),
            )
        });
        assert!(text.starts_with("uid="), "{text}");
        let mut number = with_hosts(&["10.77.0.2:22"], &["10.77.0.2:22"], &[]);
        number.read = read();
        let line = in_dir(&format!(
            "ssh -i \"$SSH_KEY\" -o UserKnownHostsFile=known_hosts {me}@10.77.0.2 id"
        ));
        assert!(
            said(&bench, &number, plan("bash", &format!("{private}{line}"))).starts_with("uid=")
        );
    } else {
        not_run(&format!("{NAME} (ssh)"), "no sshd here");
    }
    if has("kubectl") {
        let stub = r"
import http.server, json
class Api(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        kinds = {'/api': {'kind': 'APIVersions', 'versions': ['v1']}, '/apis': {'kind': 'APIGroupList', 'groups': []},
            '/api/v1': {'kind': 'APIResourceList', 'groupVersion': 'v1', 'resources': [
                {'name': 'pods', 'singularName': 'pod', 'namespaced': True, 'kind': 'Pod', 'verbs': ['get', 'list']}]}}
        pods = {'kind': 'PodList', 'apiVersion': 'v1', 'metadata': {}, 'items': [
            {'kind': 'Pod', 'apiVersion': 'v1', 'metadata': {'name': 'web-1', 'namespace': 'default'}, 'spec': {}, 'status': {}}]}
        body = json.dumps(kinds.get(self.path.split('?')[0], pods)).encode()
        self.send_response(200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *all): pass
http.server.ThreadingHTTPServer(('10.77.0.2', 6443), Api).serve_forever()
";
        let mut api = world.there("python3");
        world.start(api.args(["-c", stub]));
        world.wait_for_port("10.77.0.2", 6443);
        let config = "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://k8s.internal:6443'}}]\n\
                      contexts: [{name: c, context: {cluster: c}}]\ncurrent-context: c\n";
        fs::write(dir.join("kubeconfig"), config).expect("a file");
        let text = play("kubectl", &|line| (plan("bash", &in_dir(line)), read()));
        assert!(text.contains("web-1"), "{text}");
    } else {
        not_run(&format!("{NAME} (kubectl)"), "no kubectl here");
    }
    let tls = format!(
        "cd {} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.pem -days 2 \
         -subj /CN=api.internal -addext subjectAltName=DNS:api.internal 2>/dev/null && chmod 644 tls.key && \
         cat /etc/ssl/certs/ca-certificates.crt tls.pem > all.pem && mount --bind all.pem /etc/ssl/certs/ca-certificates.crt",
        dir.display()
    );
    sh(&tls);
    let server = format!(
        "import http.server, ssl\nclass Api(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        \
         ok = self.headers.get('Authorization') == 'Bearer t0ken' and self.path == '/health'\n        \
         self.send_response(200 if ok else 403)\n        self.end_headers()\n        self.wfile.write(b'healthy\\n')\n    \
         def log_message(self, *all): pass\ns = http.server.ThreadingHTTPServer(('10.77.0.2', 443), Api)\n\
         c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\nc.load_cert_chain('{0}/tls.pem', '{0}/tls.key')\n\
         s.socket = c.wrap_socket(s.socket, server_side=True)\ns.serve_forever()\n",
        dir.display()
    );
    let mut api = world.there("python3");
    world.start(api.args(["-c", &server]));
    world.wait_for_port("10.77.0.2", 443);
    fs::write(dir.join("header"), "Authorization: Bearer t0ken\n").expect("a file");
    let text = play("curl", &|line| {
        (
            Plan {
                env: env("API_HEADER", &file("header")),
                ..plan("bash", line)
            },
            read(),
        )
    });
    assert_eq!(text, "healthy\n");
}

#[test]
fn programs_that_know_no_proxy_reach_their_servers() {
    const NAME: &str = "network_lines::programs_that_know_no_proxy_reach_their_servers";
    let Some(mut world) = Neighbour::enter(NAME) else {
        return;
    };
    Neighbour::names(&["10.77.0.2 cache.internal web.internal"]);
    let bench = Bench::strict();
    if has("redis-server") && has("redis-cli") {
        let mut redis = world.there("redis-server");
        redis
            .args([
                "--bind",
                "10.77.0.2",
                "--protected-mode",
                "no",
                "--save",
                "",
                "--dir",
            ])
            .arg(world.path(""));
        redis.stdout(std::process::Stdio::null());
        world.start(&mut redis);
        world.wait_for_port("10.77.0.2", 6379);
        for host in ["cache.internal", "10.77.0.2"] {
            let listed = format!("{host}:6379");
            let profile = with_hosts(&[&listed], &[&listed], &[]);
            assert_eq!(
                said(
                    &bench,
                    &profile,
                    plan("bash", &format!("redis-cli -h {host} PING"))
                ),
                "PONG\n"
            );
        }
    } else {
        not_run(
            &format!("{NAME} (redis-cli)"),
            "no redis-server and redis-cli here",
        );
    }
    if has("go") {
        let source = "package main\n\nimport (\n\t\"fmt\"\n\t\"io\"\n\t\"net/http\"\n\t\"os\"\n)\n\nfunc main() {\n\tr, err := \
                      http.Get(\"http://\" + os.Args[1] + \"/\")\n\tif err != nil {\n\t\tfmt.Println(err)\n\t\tos.Exit(1)\n\t}\n\tb, _ := \
                      io.ReadAll(r.Body)\n\tfmt.Print(string(b))\n}\n";
        fs::write(world.path("ask.go"), source).expect("a file");
        let built = Command::new("go")
            .args(["build", "-o"])
            .args([world.path("ask"), world.path("ask.go")])
            .envs([
                ("CGO_ENABLED", "0"),
                ("GOFLAGS", "-mod=mod"),
                ("GO111MODULE", "off"),
            ])
            .env("GOCACHE", world.path("cache"))
            .env("HOME", world.path(""))
            .output()
            .expect("go");
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        fs::set_permissions(world.path(""), fs::Permissions::from_mode(0o755)).expect("mode");
        let program = world
            .path("ask")
            .canonicalize()
            .expect("real")
            .display()
            .to_string();
        for (host, at) in [("web.internal", "10.77.0.2"), ("10.77.0.3", "10.77.0.3")] {
            let listed = format!("{host}:80");
            let mut profile = with_hosts(&[&listed], &[&listed], &[]);
            profile.read = vec![program.clone()];
            assert_eq!(
                said(&bench, &profile, plan("bash", &format!("{program} {host}"))),
                format!("{host} at {at}\n")
            );
        }
        // The static program of Go looks up other names nowhere.
        let mut profile = with_hosts(&["web.internal:80"], &["web.internal:80"], &[]);
        profile.read = vec![program.clone()];
        let text = said(
            &bench,
            &profile,
            plan("bash", &format!("{program} other.internal || true")),
        );
        assert!(text.contains("other.internal: no s"), "{text}");
    } else {
        not_run(&format!("{NAME} (Go)"), "no go here");
    }
}

/// Starts a PostgreSQL server on the other host, and returns its address.
fn postgres(world: &mut Neighbour, name: &str) -> Option<String> {
    let programs = fs::read_dir("/usr/lib/postgresql")
        .ok()
        .and_then(|found| found.flatten().next());
    let Some(programs) = programs
        .map(|found| found.path().join("bin"))
        .filter(|_| has("psql"))
    else {
        not_run(&format!("{name} (psql)"), "no PostgreSQL here");
        return None;
    };
    let data = world.path("database");
    fs::create_dir(&data).expect("a directory");
    fs::set_permissions(world.path(""), fs::Permissions::from_mode(0o755)).expect("mode");
    std::os::unix::fs::chown(&data, Some(65534), Some(65534)).expect("another owner");
    let drop = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let initdb = Command::new("setpriv")
        .args(drop)
        .arg(programs.join("initdb"))
        .args(["-U", "postgres", "-A", "trust", "-N", "-D"])
        .arg(&data)
        .output()
        .expect("setpriv");
    assert!(
        initdb.status.success(),
        "{}",
        String::from_utf8_lossy(&initdb.stderr)
    );
    fs::write(data.join("pg_hba.conf"), "host all all all trust\n").expect("a file");
    let mut server = world.there("setpriv");
    server
        .args(drop)
        .arg(programs.join("postgres"))
        .arg("-D")
        .arg(&data);
    server.args([
        "-c",
        "listen_addresses=10.77.0.2",
        "-c",
        "unix_socket_directories=",
        "-c",
        "fsync=off",
    ]);
    server.stderr(std::process::Stdio::null());
    world.start(&mut server);
    let accepts = || {
        let asked = Command::new("psql")
            .args([
                "-X",
                "postgres://postgres@10.77.0.2/postgres",
                "-c",
                "SELECT 1",
            ])
            .output();
        asked.is_ok_and(|output| output.status.success())
    };
    crate::support::wait_for("PostgreSQL", accepts);
    Some("10.77.0.2:5432".to_owned())
}
