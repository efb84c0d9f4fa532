use std::fs;
use std::io::{self, Write};
use std::path::Path;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD};
use rand::TryRngCore;
use runtime::config::Secret;

use crate::KeyError;

/// Fewest bytes of a secret: the output of the smallest hash, RFC 7518 §3.2.
pub const MIN_SECRET_BYTES: usize = 32;

/// Name of the file in the data folder that [`dev_secret`] keeps its secret in.
pub const DEV_SECRET_FILE: &str = "auth.secret";

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// The key bytes of a configured secret, raw or after `base64:` in either alphabet; none when it is not set.
pub(crate) fn key_bytes(secret: &Secret) -> Result<Option<Vec<u8>>, KeyError> {
    if secret.is_empty() {
        return Ok(None);
    }
    let bytes = match secret.expose().strip_prefix("base64:") {
        None => secret.expose().as_bytes().to_vec(),
        Some(encoded) => GeneralPurpose::new(&alphabet::STANDARD, LENIENT)
            .decode(encoded.trim())
            .or_else(|_| GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT).decode(encoded.trim()))
            .map_err(|_| KeyError::SecretEncoding)?,
    };
    if bytes.len() < MIN_SECRET_BYTES {
        return Err(KeyError::ShortSecret { bytes: bytes.len() });
    }
    Ok(Some(bytes))
}

/// The secret of the dev profile: `auth.secret` in `data_dir`, made on first use with mode 0600, written as a
/// configuration takes it. Two processes starting together get the same one.
pub fn dev_secret(data_dir: &Path) -> Result<Secret, KeyError> {
    let path = data_dir.join(DEV_SECRET_FILE);
    let failed = |doing| {
        let path = path.clone();
        move |source| KeyError::File { doing, path, source }
    };
    match fs::read_to_string(&path) {
        Ok(text) => return read_back(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("reading the secret in")(error)),
    }
    fs::create_dir_all(data_dir).map_err(failed("making the folder of"))?;
    let made = random().map_err(failed("making a secret for"))?;
    publish(&path, &format!("base64:{}\n", STANDARD.encode(made)))
        .map_err(failed("writing the secret to"))?;
    // Not what was made, but what is there: another process may have been first.
    read_back(&fs::read_to_string(&path).map_err(failed("reading the secret in"))?)
}

fn read_back(text: &str) -> Result<Secret, KeyError> {
    let secret = Secret::new(text.trim());
    key_bytes(&secret)?.ok_or(KeyError::ShortSecret { bytes: 0 })?;
    Ok(secret)
}

fn random() -> io::Result<[u8; MIN_SECRET_BYTES]> {
    let mut bytes = [0; MIN_SECRET_BYTES];
    rand::rngs::OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(io::Error::other)?;
    Ok(bytes)
}

/// Writes beside `path` and links into place: a reader sees all of it or nothing, and the first writer wins.
fn publish(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension(format!("{}.{:016x}", std::process::id(), rand::random::<u64>()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&draft).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    let _ = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.exists() => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(text: &str) -> Result<Option<Vec<u8>>, KeyError> {
        key_bytes(&Secret::new(text))
    }

    #[test]
    fn a_secret_is_raw_or_base64_of_either_alphabet() {
        let bytes = vec![0xfb; 32];
        let padded = format!("base64:{}", STANDARD.encode(&bytes));
        let url = padded.replace('+', "-").replace('/', "_").replace('=', "");
        assert_eq!(bytes_of(&padded).unwrap().unwrap(), bytes);
        assert_eq!(bytes_of(&url).unwrap().unwrap(), bytes);
        let raw = "0123456789abcdef0123456789abcdef";
        assert_eq!(bytes_of(raw).unwrap().unwrap(), raw.as_bytes());
    }

    #[test]
    fn a_short_or_broken_secret_is_refused_without_showing_it() {
        for bad in ["hunter2", "base64:aHVudGVyMg==", "base64:hunter2 hunter2"] {
            let error = bytes_of(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("unter"), "{error:?}");
        }
    }

    #[test]
    fn the_dev_secret_is_made_once_and_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("new");
        let made: Vec<Secret> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| dev_secret(&data).unwrap()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(
            made.iter()
                .all(|secret| *secret == made[0] && key_bytes(secret).unwrap().unwrap().len() == 32)
        );
        assert_eq!(dev_secret(&data).unwrap(), made[0]);
        let config = crate::Config {
            secret: made[0].clone(),
            ..Default::default()
        };
        assert!(crate::KeyRing::build(&config).unwrap().is_loaded());
        assert_eq!(
            fs::read_dir(&data).unwrap().count(),
            1,
            "no drafts are left behind"
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(data.join(DEV_SECRET_FILE))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_dev_secret_file_that_holds_no_secret_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(DEV_SECRET_FILE), "").unwrap();
        assert!(matches!(
            dev_secret(folder.path()),
            Err(KeyError::ShortSecret { bytes: 0 })
        ));
    }
}
