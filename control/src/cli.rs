//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use crate::config::Period;
use crate::exit::Exit;

const AFTER_HELP: &str = "\
Try it, in three terminals:
  fanfare                                     # the server; it prints two commands to copy
  fanfare tail demo                           # a client: prints what the room receives
  fanfare push demo '{\"text\": \"hello\"}'       # a service: pushes to the room

Ports:
  8000 on all addresses   clients: WebSocket, HTTP, native TCP and goim
  127.0.0.1:8001          control API, /metrics, /live, /ready, /version
  3478, 49152 to 65535    STUN/TURN and its relayed ports, with turn.enabled = true

Exit codes:
   0  all is well; a drain after SIGTERM or SIGINT, too
   1  a server was not reached or refused
  64  the command line is wrong
  70  an internal error, worth a report
  71  the system said no: address in use, no io_uring, no such directory
  77  not permitted: a file's mode, an API key, a token
  78  the configuration is wrong; the message names file and line
 130  a second SIGINT cut the drain short; 143 a second SIGTERM

Every setting is in docs/configuration.md, every endpoint in docs/api.md.";

/// Fanfare pushes messages from your services to very many connected clients.
///
/// Without a command it serves: clients on port 8000, the control API on 127.0.0.1:8001. It needs no
/// configuration; keys are made at the first start and kept in the data directory.
#[derive(Debug, Parser)]
#[command(name = "fanfare", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What every command understands.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Configuration file [env: FANFARE_CONFIG=] [default: ./fanfare.toml, then
    /// /etc/fanfare/config.toml, if there]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where secrets are kept [env: FANFARE_DATA_DIR=] [default: ./fanfare-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server (this is the default)
    Serve(ServeArgs),
    /// Push a message to a room and say whom it reached
    Push(PushArgs),
    /// Join a room and print what it receives, one line each
    Tail(TailArgs),
    /// Print a token that lets a user connect
    Token(TokenArgs),
    /// Print a user name and a password for the STUN/TURN relay
    TurnCredentials(TurnCredentialsArgs),
    /// Try a STUN/TURN relay as its clients use it, from where you are
    TurnCheck(TurnCheckArgs),
    /// Check the configuration and say what is wrong with it, by file and line
    CheckConfig,
    /// Print the configuration as the server would use it, secrets hidden
    PrintConfig(PrintConfigArgs),
}

/// `fanfare serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
The banner shows an API key and a token, so that its commands can be copied. Use --quiet where standard
output ends in a log.

SIGTERM and SIGINT drain: /ready answers 503, no more clients are accepted, and those there are told to
reconnect elsewhere, spread over shutdown.drain_window. A second signal ends the process at once.")]
pub(crate) struct ServeArgs {
    /// Print no banner (it shows secrets); logs go on
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `fanfare push`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fanfare push demo '{\"text\": \"hello\"}'
  fanfare push demo hello                     # not JSON: sent as the JSON string \"hello\"
  date | fanfare push demo -                  # from standard input
  fanfare push order:17 '{\"paid\": true}' --idempotency-key payment-4711")]
pub(crate) struct PushArgs {
    /// Room to push to
    pub(crate) room: String,
    /// Message; what is not JSON is sent as a JSON string; - reads standard input
    #[arg(allow_negative_numbers = true)]
    pub(crate) data: String,
    /// Push once, however often this is repeated with the same key within two minutes
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Print the API's answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Control API to ask [default: the configured one, http://127.0.0.1:8001]
    #[arg(long, value_name = "URL")]
    pub(crate) api: Option<String>,
    /// API key [default: the configured one, or that of the data directory]
    #[arg(
        long,
        value_name = "KEY",
        env = "FANFARE_API_KEY",
        hide_env_values = true
    )]
    pub(crate) api_key: Option<String>,
}

/// `fanfare tail`.
#[derive(Debug, Args)]
#[command(after_help = "\
Messages go to standard output, everything else to standard error, so this works:
  fanfare tail demo | jq .text

Examples:
  fanfare tail demo                           # with a token made from the data directory
  fanfare tail demo --token eyJ0eXAi...       # with one you were given
  fanfare tail demo --count 1 --json          # one message with its room and offset, then exit
  fanfare tail demo --recover 6768549492119719609:41  # what came after that position first")]
pub(crate) struct TailArgs {
    /// Room to join
    pub(crate) room: String,
    /// Connection token [default: one made with the secret of the data directory]
    #[arg(
        long,
        value_name = "TOKEN",
        env = "FANFARE_TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<String>,
    /// Print a JSON object per message: room, epoch, offset and data
    #[arg(long)]
    pub(crate) json: bool,
    /// Print first what came after this position, as far as the room's history goes
    #[arg(long, value_name = "EPOCH:OFFSET", value_parser = crate::tail::parse_position)]
    pub(crate) recover: Option<fanfare_engine::api::Position>,
    /// Exit after so many messages
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Where clients connect [default: the configured address, 127.0.0.1:8000]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) server: Option<String>,
}

/// `fanfare token`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fanfare token --user alice                              # may connect; namespaces say what else
  fanfare token --user alice --room news --room 'chat:*'  # may read these rooms
  fanfare token --user bot --room news --publish --ttl 5m")]
pub(crate) struct TokenArgs {
    /// User that the token names
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,
    /// How long it is valid, such as 90s, 30m, 12h or 7d
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub(crate) ttl: Period,
    /// Let the user subscribe to this room, and read its history and presence; NAME* means all that
    /// begin so. May be repeated
    #[arg(long = "room", value_name = "ROOM")]
    pub(crate) rooms: Vec<String>,
    /// Let the user publish to these rooms, too
    #[arg(long, requires = "rooms")]
    pub(crate) publish: bool,
}

/// `fanfare turn-credentials`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fanfare turn-credentials                          # good for turn.credential_ttl
  fanfare turn-credentials --user alice --ttl 10m --json")]
pub(crate) struct TurnCredentialsArgs {
    /// Whose they are: the quota of allocations is counted by this name
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(crate) user: String,
    /// How long they are good for, such as 90s, 30m or 12h [default: turn.credential_ttl]
    #[arg(long, value_name = "TIME")]
    pub(crate) ttl: Option<Period>,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `fanfare turn-check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Run it where clients come from, not on the relay's own host. Without a name and a password only
STUN is tried. It ends with 0 if all that could be tried works, and with 1 otherwise.

Examples:
  fanfare turn-check stun:turn.example.org
  fanfare turn-check turn:turn.example.org turns:turn.example.org:443 --user U --password P")]
pub(crate) struct TurnCheckArgs {
    /// What clients are told: turn:HOST[:PORT][?transport=udp|tcp], turns:, stun: or stuns:
    #[arg(value_name = "URL", required = true)]
    pub(crate) urls: Vec<crate::turn::Url>,
    /// A user name
    #[arg(long, value_name = "NAME", requires = "password")]
    pub(crate) user: Option<String>,
    /// Its password
    #[arg(long, value_name = "PASSWORD", requires = "user")]
    pub(crate) password: Option<String>,
    /// Certificates of the authority that has signed the relay's [default: those that this host trusts]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Ports of the relay that are tried
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) ports: u8,
    /// How long an answer is waited for
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub(crate) timeout: Period,
    /// Print JSON: for each URL whether it is ok, and the steps
    #[arg(long)]
    pub(crate) json: bool,
}

/// `fanfare print-config`.
#[derive(Debug, Args)]
pub(crate) struct PrintConfigArgs {
    /// Print the defaults instead: a file to start from
    #[arg(long)]
    pub(crate) default: bool,
}

/// Reads the command line. When there is nothing to run (help was asked for, or the line is wrong) what there
/// is to say has been said, and the code to exit with is returned.
pub(crate) fn parse() -> Result<(Common, Command), ExitCode> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return Err(explain(&error)),
    };
    let command = match cli.command {
        None => Command::Serve(cli.serve),
        Some(Command::Serve(args)) => Command::Serve(ServeArgs {
            quiet: args.quiet || cli.serve.quiet,
        }),
        Some(other) => other,
    };
    // Not read by clap, which takes an empty variable for a path.
    let common = Common {
        config: cli.common.config.or_else(|| path_of("FANFARE_CONFIG")),
        data_dir: cli.common.data_dir.or_else(|| path_of("FANFARE_DATA_DIR")),
    };
    Ok((common, command))
}

fn path_of(variable: &str) -> Option<PathBuf> {
    let value = std::env::var_os(variable)?;
    (!value.is_empty()).then(|| value.into())
}

/// This program as a command that can be copied, quoted for a shell: the name as it was typed if the shell looks
/// it up, else the whole path, for a relative one is good in one directory only.
pub(crate) fn program() -> String {
    let typed = std::env::args().next().unwrap_or_default();
    if typed.is_empty() {
        return "fanfare".to_owned();
    }
    let path = std::env::current_exe()
        .ok()
        .filter(|_| typed.contains('/'))
        .and_then(|path| path.into_os_string().into_string().ok());
    shell_quote(&path.unwrap_or(typed))
}

/// Quotes a word for a POSIX shell if it needs it.
pub(crate) fn shell_quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// An address that a client on this machine can connect to: the wildcard is reached by loopback.
pub(crate) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    address.set_ip(match address {
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    });
    address
}

fn explain(error: &clap::Error) -> ExitCode {
    // Fails only when the terminal is gone, and then nobody is there to be told.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(Exit::Usage as u8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn words_are_quoted_only_when_a_shell_would_split_or_expand_them() {
        assert_eq!(
            shell_quote("target/release/fanfare"),
            "target/release/fanfare"
        );
        assert_eq!(shell_quote("my dir/fan'fare"), r"'my dir/fan'\''fare'");
        assert_eq!(shell_quote("$HOME"), "'$HOME'");
        assert_eq!(shell_quote("[::1]:8000"), "'[::1]:8000'");
        assert_eq!(shell_quote(""), "''");
    }

    #[test]
    fn a_wildcard_address_is_reached_by_loopback() {
        let of = |text: &str| reachable(text.parse().expect("an address")).to_string();
        assert_eq!(of("0.0.0.0:8000"), "127.0.0.1:8000");
        assert_eq!(of("[::]:8000"), "[::1]:8000");
        assert_eq!(of("10.1.2.3:9"), "10.1.2.3:9");
    }
}
