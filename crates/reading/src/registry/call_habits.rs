//! Everyday calls that work at a terminal but not in a step, because a step has a time limit, and neither a terminal
//! nor the rights of root.

use crate::ScriptCall;

/// What goes wrong with a call in a step.
#[derive(Clone, Copy, PartialEq)]
enum StepProblem {
    Terminal,
    Root,
    Endless,
    Proc,
}

use StepProblem::{Endless, Proc, Root, Terminal};

/// Calls of one kind: the programs, their subcommands, the arguments that make the problem, and beginnings of arguments
/// that solve it. Names are separated by blanks. An empty text means each call.
type Habit = (StepProblem, [&'static str; 4], &'static str);

/// Returns true if a list contains a word. Blanks separate the words of the list.
pub fn lists(list: &str, word: &str) -> bool {
    list.split(' ').any(|one| one == word)
}

/// Returns the message about a call that a step can't use as a person does. `sees_proc` is true if the step sees all
/// files of `/proc`.
pub fn habit(call: &ScriptCall, sees_proc: bool) -> Option<String> {
    let arguments = call.words.iter().skip(1).map(|word| word.text.as_str());
    let arguments: Vec<&str> = arguments.take_while(|word| *word != "--").collect();
    let behind = |program: &str| call.via.iter().any(|name| name == program);
    let (problem, shown, remedy) = HABITS.iter().find_map(|(problem, habit, remedy)| {
        Some((
            *problem,
            shown(*problem, *habit, call.program(), &arguments)?,
            remedy,
        ))
    })?;
    let what = match problem {
        Terminal => "needs a terminal, and a step has none",
        // Behind ssh, the command runs on another host.
        Root | Proc if behind("ssh") => return None,
        Root => "gains no rights in a step",
        Endless if !call.is_ended && !behind("timeout") => {
            "never ends, so the run ends at its time limit"
        }
        Proc if !sees_proc => "reads files of /proc that a step lacks",
        _ => return None,
    };
    Some(format!("`{shown}` {what}: {remedy}"))
}

/// Returns the words of a call that make the problem, or `None` if the call is of another kind.
fn shown(
    problem: StepProblem,
    habit: [&str; 4],
    program: &str,
    arguments: &[&str],
) -> Option<String> {
    let [programs, commands, options, unless] = habit;
    if !lists(programs, program) {
        return None;
    }
    let (mut shown, mut given) = (program.to_owned(), arguments);
    if !commands.is_empty() {
        let at = arguments.iter().position(|word| lists(commands, word))?;
        shown = format!("{program} {}", arguments[at]);
        given = &arguments[at + 1..];
        if problem == Terminal && lists("docker podman nerdctl", program) {
            given = &given[..options_of_container(given)];
        }
    }
    if !unless.is_empty()
        && given
            .iter()
            .any(|word| unless.split(' ').any(|begin| word.starts_with(begin)))
    {
        return None;
    }
    // Short options can be in one word: `-it`.
    let is_option = |word: &str, option: &str| match option.strip_prefix('-') {
        Some(letter) if letter.len() == 1 && !word.starts_with("--") => {
            let letters = word.chars().filter(char::is_ascii_alphabetic).count();
            word.starts_with('-') && letters <= 3 && word.contains(letter)
        }
        _ => word.split('=').next() == Some(option),
    };
    let makes = |word: &&&str| options.split(' ').any(|option| is_option(word, option));
    let option = given.iter().find(makes);
    match option {
        _ if options.is_empty() => Some(shown),
        option => Some(format!("{shown} {}", option?)),
    }
}

/// Returns the number of words before the first operand of `docker run` or `docker exec`. The other words belong to the
/// program in the container.
fn options_of_container(words: &[&str]) -> usize {
    let mut at = 0;
    while let Some(word) = words.get(at).filter(|word| word.starts_with('-')) {
        let alone = lists(WITHOUT_VALUE, word)
            || word.contains('=')
            || !word.starts_with("--") && word.len() > 2;
        at += if alone { 1 } else { 2 };
    }
    at.min(words.len())
}

/// Options of `docker run` and `docker exec` without a value.
const WITHOUT_VALUE: &str =
    "-i -t -d -P -q --interactive --tty --detach --rm --privileged --init --read-only";

const FILE: &str = "change the file with a command";
const SECRET: &str = "give the password as a secret";
const NO_TTY: &str = "remove -t and -i, and give the command at the end (kubectl: after --), because a shell alone gets no input";
const LIMITED: &str = "leave the option out, or write `timeout 60` before the command";
const BEFORE: &str = "write `timeout 60` before the command";

const HABITS: [Habit; 22] = [
    (
        Terminal,
        ["docker podman nerdctl", "exec run", "-t --tty", ""],
        NO_TTY,
    ),
    (
        Terminal,
        ["kubectl oc", "exec run attach debug", "-t --tty", ""],
        NO_TTY,
    ),
    (
        Terminal,
        ["kubectl oc systemctl", "edit", "", "--stdin"],
        FILE,
    ),
    (
        Terminal,
        [
            "vi vim nvim view nano pico emacs visudo vipw vigr sudoedit",
            "",
            "",
            "-e -E -s -c -batch --batch --check --script",
        ],
        FILE,
    ),
    (
        Terminal,
        ["crontab", "", "-e", ""],
        "write the table to the standard input of `crontab -`",
    ),
    (
        Terminal,
        ["git", "rebase", "-i --interactive", ""],
        "leave the option out",
    ),
    (
        Terminal,
        [
            "git",
            "commit",
            "",
            "-m -am -qm -qam -sm -asm -F -C --m --fil --reuse --no-edit --dry-run --fixup",
        ],
        "give the message with -m",
    ),
    (
        Terminal,
        ["tmux", "attach attach-session a new new-session", "", "-d"],
        "leave it out, or add -d",
    ),
    (
        Terminal,
        [
            "psql pg_dump pg_dumpall pg_restore createdb dropdb",
            "",
            "-W --password",
            "",
        ],
        SECRET,
    ),
    (
        Terminal,
        [
            "mysql mysqldump mysqladmin mariadb mariadb-dump",
            "",
            "-p --password",
            "-p\u{10FFFE} --password=",
        ],
        SECRET,
    ),
    (
        Terminal,
        ["top htop btop", "", "", "-b --batch --version"],
        "write `top -b -n 1`",
    ),
    (
        Root,
        ["sudo su doas pkexec", "", "", ""],
        "use run-as= or a socket of the host in the block",
    ),
    (
        Proc,
        [
            "free ps uptime vmstat w pgrep pidof",
            "",
            "",
            "--version -V --help",
        ],
        "write proc=full in the block",
    ),
    (
        Endless,
        ["tail journalctl dmesg", "", "-f -F --follow -w", "--pid"],
        LIMITED,
    ),
    (
        Endless,
        [
            "kubectl oc docker podman nerdctl docker-compose",
            "logs",
            "-f --follow",
            "",
        ],
        LIMITED,
    ),
    (
        Endless,
        ["kubectl oc", "get", "-w --watch --watch-only", ""],
        LIMITED,
    ),
    (
        Endless,
        ["kubectl oc", "port-forward proxy", "", ""],
        "run it in the background with `&`",
    ),
    (
        Endless,
        ["docker podman", "stats events", "", "--no-stream --until"],
        "add --no-stream or --until",
    ),
    (
        Endless,
        ["watch", "", "", "-g --chgexit -q --equexit"],
        "leave `watch` out",
    ),
    (
        Endless,
        [
            "ping ping6 tcpdump",
            "",
            "",
            "-c -w --count -W -G -D --list",
        ],
        BEFORE,
    ),
    (
        Endless,
        ["sleep", "", "infinity inf", ""],
        "leave the command out",
    ),
    (Endless, ["yes", "", "", ""], BEFORE),
];
