//! RabbitMQ, with a port mapper of its own.

use std::process::Command;

use super::Certificate;
use super::process::{Directory, Process, command, free_port, listens, wait_until};

/// A RabbitMQ server with a user and a password.
#[derive(Debug)]
pub struct RabbitMqServer {
    /// Before the directory that it writes into.
    process: Process,
    /// The port mapper of Erlang would outlive the server, so it is started by us.
    _mapper: Process,
    directory: Directory,
    port: u16,
    mapper_port: u16,
    distribution_port: u16,
}

impl RabbitMqServer {
    /// The only user.
    pub const USER: &str = "factum";
    /// The password of the only user.
    pub const PASSWORD: &str = "rabbit-secret";

    /// Starts a server, with TLS if there is a certificate.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    #[must_use]
    pub fn start(tls: Option<Certificate<'_>>) -> Self {
        let directory = Directory::make();
        let (port, mapper_port, distribution_port) = (free_port(), free_port(), free_port());
        let listeners = match tls {
            Some(tls) => {
                let (certificate, key) = directory.write_certificate(tls);
                format!(
                    "listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:{port}\n\
                     ssl_options.certfile = {}\nssl_options.keyfile = {}\n\
                     ssl_options.verify = verify_none\nssl_options.fail_if_no_peer_cert = false\n",
                    certificate.display(),
                    key.display(),
                )
            }
            None => format!("listeners.tcp.1 = 127.0.0.1:{port}\n"),
        };
        let configuration = format!(
            "{listeners}default_user = {}\ndefault_pass = {}\ndisk_free_limit.absolute = 1MB\n",
            Self::USER,
            Self::PASSWORD,
        );
        directory.write("rabbitmq.conf", &configuration);
        directory.write("enabled_plugins", "[].\n");
        directory.write(".erlang.cookie", "factumtests");
        let mut mapper = command("epmd", "erlang-base");
        mapper.args(["-port", &mapper_port.to_string(), "-address", "127.0.0.1"]);
        let mapper = Process::start(mapper, &directory);
        let mut server = Self {
            process: Process::idle(),
            _mapper: mapper,
            directory,
            port,
            mapper_port,
            distribution_port,
        };
        server.resume();
        server
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command(program, "rabbitmq-server");
        let path = self.directory.path();
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", path)
            .env("ERL_EPMD_PORT", self.mapper_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", format!("t{}@localhost", self.port))
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("RABBITMQ_CONFIG_FILE", path.join("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", path.join("no-such-file"))
            .env(
                "RABBITMQ_ENABLED_PLUGINS_FILE",
                path.join("enabled_plugins"),
            )
            .env("RABBITMQ_MNESIA_BASE", path.join("data"))
            .env("RABBITMQ_LOG_BASE", path.join("logs"))
            .env("RABBITMQ_LOGS", "-")
            // Then the script becomes the server, instead of starting it and waiting for it.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}",
            );
        command
    }

    /// Returns the port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts the server again after it was killed, with what it has on disk.
    ///
    /// # Panics
    /// When it does not start.
    pub fn resume(&mut self) {
        wait_until(&self.directory, "epmd", || listens(self.mapper_port));
        let server = self.command("/usr/lib/rabbitmq/bin/rabbitmq-server");
        self.process = Process::start(server, &self.directory);
        wait_until(&self.directory, "rabbitmq-server", || listens(self.port));
    }
}
