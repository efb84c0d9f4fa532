//! Child processes that end with this one, however it ends.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Whom a server runs as that refuses to be root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    /// `None` when these tests are not root's: then everything runs as whoever runs them.
    ///
    /// # Panics
    /// When there is neither a user `postgres` nor `nobody`.
    pub(crate) fn unprivileged() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let users = std::fs::read_to_string("/etc/passwd").expect("reading /etc/passwd");
        let find = |name: &str| {
            let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut ids = line.split(':').skip(2).map_while(|id| id.parse().ok());
            Some(Self {
                uid: ids.next()?,
                gid: ids.next()?,
            })
        };
        Some(
            find("postgres")
                .or_else(|| find("nobody"))
                .expect("a user who is not root"),
        )
    }

    /// Gives it a folder.
    pub(crate) fn take(self, path: &Path) {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid)).expect("giving a folder away");
    }
}

/// A command whose process the kernel kills when this process ends, even by SIGKILL.
///
/// `setpriv` becomes the program, so that the child's id is the program's. It is in a group of its own: an interrupt at
/// the terminal is for us.
pub(crate) fn tied(program: impl AsRef<OsStr>, owner: Option<Owner>) -> Command {
    let mut command = Command::new("setpriv");
    command.process_group(0);
    if let Some(Owner { uid, gid }) = owner {
        command
            .arg(format!("--reuid={uid}"))
            .arg(format!("--regid={gid}"));
        command.arg("--clear-groups");
    }
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

type Order = (Command, Sender<io::Result<Child>>);

/// Starts a [tied](tied) command.
///
/// The kernel ties a child to the thread that started it, and a test's thread ends before the process does: one thread
/// that never ends starts them all.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static ORDERS: OnceLock<Sender<Order>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (send, receive) = channel();
        std::thread::spawn(move || serve(&receive));
        send
    });
    let (answer, started) = channel();
    orders
        .send((command, answer))
        .expect("the thread that starts processes never ends");
    started.recv().expect("it answers every order")
}

fn serve(orders: &Receiver<Order>) {
    for (mut command, answer) in orders {
        // Whoever ordered it waits for it.
        let _waits = answer.send(command.spawn());
    }
}
