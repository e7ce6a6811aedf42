//! Names of programs that usually need the network. The names only lead to advice and decide nothing.

/// Returns true if the program usually connects to another host or to a service of this host.
pub fn uses_network(program: &str) -> bool {
    let name = program.rsplit('/').next();
    NETWORK.split(' ').any(|known| Some(known) == name)
}

/// Programs that usually connect to another host or to a service of this host, with a blank between them.
const NETWORK: &str = "ansible ansible-playbook apt apt-get aws az brew cargo curl dig docker gcloud gh git glab go gsutil \
    helm host kubectl mysql nc npm npx nslookup ping pip pip3 pnpm podman psql redis-cli rsync scp sftp \
    ssh terraform terragrunt tofu wget yarn";
