//! A receiver of mail that speaks TLS, and keeps what it gets.

use std::fs;
use std::path::PathBuf;

use super::Certificate;
use super::process::{Directory, Process, command, free_port, listens, wait_until};

/// How a connection is made secure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// It is not.
    None,
    /// By STARTTLS, without which nothing is taken.
    StartTls,
    /// From its first byte on.
    Tls,
}

/// A mail as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedMail {
    /// From whom, by the envelope.
    pub from: String,
    /// To whom, by the envelope, separated by commas.
    pub to: String,
    /// Headers and body.
    pub content: String,
}

/// A receiver of mail on a port of this machine, with a user and a password.
#[derive(Debug)]
pub struct MailSink {
    _process: Process,
    directory: Directory,
    port: u16,
    inbox: PathBuf,
}

/// Takes mail from who knows the password, writes each into a file, and refuses mail to
/// `refused@` for good and to `later@` for now.
const PROGRAM: &str = r#"
import asyncio, os, ssl, sys
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

port, inbox, security, certificate, key, user, password = sys.argv[1:]

class Handler:
    count = 0
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused@"):
            return "550 no such mailbox"
        if address.startswith("later@"):
            return "451 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"
    async def handle_DATA(self, server, session, envelope):
        Handler.count += 1
        name = os.path.join(inbox, "%06d" % Handler.count)
        head = (envelope.mail_from + "\n" + ",".join(envelope.rcpt_tos) + "\n").encode()
        with open(name + ".part", "wb") as file:
            file.write(head + envelope.content)
        os.rename(name + ".part", name)
        return "250 taken as %d" % Handler.count

def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and data.login.decode() == user and data.password.decode() == password
    return AuthResult(success=good, handled=False)

context = None
if security != "none":
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
arguments = dict(hostname="127.0.0.1", port=int(port), authenticator=authenticate, auth_required=True, auth_require_tls=False)
if security == "starttls":
    arguments.update(tls_context=context, require_starttls=True)
if security == "tls":
    arguments.update(ssl_context=context)
Controller(Handler(), **arguments).start()
while True:
    asyncio.run(asyncio.sleep(3600))
"#;

impl MailSink {
    /// The only user.
    pub const USER: &str = "factum";
    /// The password of the only user.
    pub const PASSWORD: &str = "mail-secret";

    /// Starts a receiver.
    ///
    /// # Panics
    /// When aiosmtpd is not installed, or does not start.
    #[must_use]
    pub fn start(security: Security, tls: Certificate<'_>) -> Self {
        let directory = Directory::make();
        let port = free_port();
        let inbox = directory.path().join("inbox");
        fs::create_dir(&inbox).unwrap();
        let (certificate, key) = directory.write_certificate(tls);
        let program = directory.write("sink.py", PROGRAM);
        // The package is there for the Python of the system, which need not be the first in PATH.
        let mut sink = command("/usr/bin/python3", "python3-aiosmtpd");
        sink.arg(program).arg(port.to_string()).arg(&inbox);
        sink.arg(match security {
            Security::None => "none",
            Security::StartTls => "starttls",
            Security::Tls => "tls",
        });
        sink.args([&certificate, &key])
            .args([Self::USER, Self::PASSWORD]);
        let process = Process::start(sink, &directory);
        wait_until(&directory, "the receiver of mail", || listens(port));
        Self {
            _process: process,
            directory,
            port,
            inbox,
        }
    }

    /// Returns the port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns what was received, in order.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn received(&self) -> Vec<ReceivedMail> {
        let entries = fs::read_dir(&self.inbox).unwrap();
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_none());
        paths.sort();
        let read = |path: &PathBuf| {
            let bytes = fs::read(path).unwrap();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let (from, rest) = text.split_once('\n').unwrap();
            let (to, content) = rest.split_once('\n').unwrap();
            ReceivedMail {
                from: from.to_owned(),
                to: to.to_owned(),
                content: content.to_owned(),
            }
        };
        paths.iter().map(read).collect()
    }

    /// Returns what the receiver said, for failures.
    #[must_use]
    pub fn logged(&self) -> String {
        self.directory.logged()
    }
}
