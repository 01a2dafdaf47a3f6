//! The secrets that the server makes for itself at its first start, and where it keeps them.
//!
//! They are used only for what the configuration does not set: an API key when there is none, an HMAC secret
//! when no token key of any kind is configured.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::config::Secret;
use crate::exit::Failure;

/// Random bytes in a generated secret; 256 bits, as HS256 asks for (RFC 7518 section 3.2).
const SECRET_BYTES: usize = 32;

/// What the data directory holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Secrets {
    /// Lets a service use the control API.
    pub(crate) api_key: Secret,
    /// Signs connection tokens with HS256.
    pub(crate) token_hmac_secret: Secret,
}

/// Why the secrets are not at hand.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretsError {
    /// Nothing has been generated here.
    #[error(
        "there are no secrets in {}: start `fanfare` once from here, or name its directory with --data-dir",
        .0.display()
    )]
    Absent(PathBuf),
    /// Somebody else can read them.
    #[error("{} can be read by others (mode {:o}): run `chmod 600` on it", .path.display(), .mode)]
    Exposed { path: PathBuf, mode: u32 },
    /// Somebody else could replace them.
    #[error("{} can be written by others (mode {:o}): run `chmod go-w` on it", .path.display(), .mode)]
    Open { path: PathBuf, mode: u32 },
    /// Somebody else made it.
    #[error("{} is not a regular file that belongs to this process's user", .0.display())]
    Foreign(PathBuf),
    /// The file is not what was written.
    #[error("{} is damaged ({}): remove it to have new secrets made", .path.display(), .reason)]
    Damaged { path: PathBuf, reason: String },
    /// The kernel gave no random bytes.
    #[error("the kernel gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// The directory or the file cannot be used.
    #[error("cannot use {}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl SecretsError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

impl From<SecretsError> for Failure {
    fn from(error: SecretsError) -> Self {
        match &error {
            SecretsError::Absent(_) | SecretsError::Damaged { .. } => Self::config(error),
            SecretsError::Exposed { .. } | SecretsError::Open { .. } | SecretsError::Foreign(_) => {
                Self::permission(error)
            }
            SecretsError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Self::permission(error)
            }
            SecretsError::Io { .. } | SecretsError::Random(_) => Self::os(error),
        }
    }
}

/// The file in a data directory.
pub(crate) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("secrets.toml")
}

/// Reads the secrets of the directory, having made both if they were not there.
pub(crate) fn read_or_create(data_dir: &Path) -> Result<Secrets, SecretsError> {
    match read(data_dir) {
        Err(SecretsError::Absent(_)) => create(data_dir)?,
        other => return other,
    }
    read(data_dir)
}

/// Reads the secrets of the directory.
pub(crate) fn read(data_dir: &Path) -> Result<Secrets, SecretsError> {
    let path = path(data_dir);
    let file = match open(&path) {
        Ok(file) => file,
        // What O_NOFOLLOW says of a link.
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(SecretsError::Foreign(path));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(SecretsError::Absent(data_dir.to_owned()));
        }
        Err(error) => return Err(SecretsError::io(&path, error)),
    };
    let metadata = file
        .metadata()
        .map_err(|error| SecretsError::io(&path, error))?;
    if !metadata.is_file() || metadata.uid() != our_user(&path)? {
        return Err(SecretsError::Foreign(path));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretsError::Exposed { path, mode });
    }
    let directory = fs::metadata(data_dir).map_err(|error| SecretsError::io(data_dir, error))?;
    let mode = directory.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        let path = data_dir.to_owned();
        return Err(SecretsError::Open { path, mode });
    }
    let text = io::read_to_string(file).map_err(|error| SecretsError::io(&path, error))?;
    // The message of the error, not its whole text, for that would show the line, and so a secret.
    toml::from_str(&text).map_err(|error| SecretsError::Damaged {
        path,
        reason: error.message().to_owned(),
    })
}

/// Neither through a link, which would make a file of somebody else's choice ours, nor waiting for a pipe.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

/// The user this process acts as, to whom the kernel gives its directory in /proc.
fn our_user(path: &Path) -> Result<u32, SecretsError> {
    fs::metadata("/proc/self")
        .map(|process| process.uid())
        .map_err(|error| SecretsError::io(path, error))
}

/// Writes new secrets. The file appears whole or not at all, and when two servers start at once the second
/// one finds the secrets of the first.
fn create(data_dir: &Path) -> Result<(), SecretsError> {
    let in_directory = |error| SecretsError::io(data_dir, error);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(in_directory)?;
    let text = format!(
        "# Made by fanfare at its first start. Whoever reads this can push to everyone and be anyone.\n\
         api_key = \"{}\"\n\
         token_hmac_secret = \"{}\"\n",
        generate()?,
        generate()?
    );
    let path = path(data_dir);
    // A name that nobody else can have taken: what is removed below was made here.
    let draft = data_dir.join(format!("secrets.toml.{}", generate()?));
    let written = write_draft(&draft, &text);
    let linked = written.and_then(|()| match fs::hard_link(&draft, &path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    // Missing when it could not be made, and then that is what there is to say.
    let removed = fs::remove_file(&draft);
    linked
        .and(removed)
        .map_err(|error| SecretsError::io(&draft, error))
}

fn write_draft(draft: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn generate() -> Result<String, SecretsError> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(SecretsError::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_made_once_and_kept_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let data_dir = dir.path().join("deep/data");
        let first = read_or_create(&data_dir).expect("made");
        let second = read_or_create(&data_dir).expect("read");
        assert_eq!(first.api_key, second.api_key);
        assert_eq!(first.token_hmac_secret, second.token_hmac_secret);
        assert_ne!(first.api_key, first.token_hmac_secret);
        assert_eq!(first.api_key.reveal().len(), 43);
        let mode = |path: &Path| {
            fs::metadata(path)
                .expect("it is there")
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!(mode(&data_dir), 0o700);
        assert_eq!(mode(&path(&data_dir)), 0o600);
        assert_eq!(
            fs::read_dir(&data_dir).expect("readable").count(),
            1,
            "no draft is left"
        );
    }

    #[test]
    fn two_servers_that_start_at_once_agree() {
        let dir = tempfile::tempdir().expect("a directory");
        create(dir.path()).expect("made");
        let first = read(dir.path()).expect("read");
        create(dir.path()).expect("finds the first ones");
        assert_eq!(read(dir.path()).expect("read").api_key, first.api_key);
    }

    #[test]
    fn secrets_that_others_can_read_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        read_or_create(dir.path()).expect("made");
        fs::set_permissions(path(dir.path()), fs::Permissions::from_mode(0o640)).expect("chmod");
        assert!(matches!(
            read(dir.path()),
            Err(SecretsError::Exposed { mode: 0o640, .. })
        ));
    }

    #[test]
    fn secrets_that_others_could_have_put_there_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let data_dir = dir.path().join("data");
        read_or_create(&data_dir).expect("made");
        let elsewhere = dir.path().join("elsewhere.toml");
        fs::rename(path(&data_dir), &elsewhere).expect("moved");
        std::os::unix::fs::symlink(&elsewhere, path(&data_dir)).expect("a link");
        assert!(matches!(
            read_or_create(&data_dir),
            Err(SecretsError::Foreign(_))
        ));
        fs::remove_file(path(&data_dir)).expect("ours");
        fs::rename(&elsewhere, path(&data_dir)).expect("moved back");
        fs::set_permissions(&data_dir, fs::Permissions::from_mode(0o770)).expect("chmod");
        assert!(matches!(
            read(&data_dir),
            Err(SecretsError::Open { mode: 0o770, .. })
        ));
    }

    #[test]
    fn a_damaged_file_is_not_replaced_and_not_shown() {
        let dir = tempfile::tempdir().expect("a directory");
        read_or_create(dir.path()).expect("made");
        fs::write(path(dir.path()), "api_key = \"hunter2\"\n").expect("written");
        let error = read_or_create(dir.path()).expect_err("one secret is missing");
        assert!(matches!(error, SecretsError::Damaged { .. }));
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn reading_makes_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(matches!(read(dir.path()), Err(SecretsError::Absent(_))));
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0);
    }
}
