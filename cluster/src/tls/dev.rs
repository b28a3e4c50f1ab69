//! `DevCerts`: a CA and certificates for nodes, written into a directory. For a laptop, a demo and tests; the key of the
//! CA lies beside them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::KeyPair;
use zeroize::Zeroizing;

use super::authority::{Authority, SignError};
use super::files::TlsFiles;
use super::identity::{Identity, IdentityError};

/// Certificates of a cluster for development.
#[derive(Debug)]
pub struct DevCerts {
    dir: PathBuf,
    authority: Authority,
    trust_domain: String,
}

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevCertError {
    /// A file or directory could not be made, or is there already.
    #[error("cannot write `{}`", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A file of the CA could not be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The CA that is there signs for others.
    #[error("`{}` is not the CA of the trust domain `{expected}`", path.display())]
    OtherDomain {
        /// Its certificate.
        path: PathBuf,
        /// Which was asked for.
        expected: String,
    },
    /// A name that no node can have.
    #[error(transparent)]
    Name(#[from] IdentityError),
    /// Keys could not be drawn or used.
    #[error("cannot sign a certificate: {0}")]
    Sign(String),
}

impl From<SignError> for DevCertError {
    fn from(error: SignError) -> Self {
        Self::Sign(error.to_string())
    }
}

impl DevCerts {
    /// Draws a CA and writes `ca.pem` and `ca.key` (mode 0600) into `dir`, which is made when it is missing. Files that
    /// are there are never replaced.
    ///
    /// # Errors
    ///
    /// [`DevCertError`] when `trust_domain` is malformed or a file can't be written.
    pub fn create(dir: &Path, trust_domain: &str, now: SystemTime) -> Result<Self, DevCertError> {
        // Checked with a name that is certainly good.
        Identity::new(trust_domain, "n1")?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|source| DevCertError::Io {
                path: dir.to_owned(),
                source,
            })?;
        let authority = Authority::generate(trust_domain, now)?;
        write(&dir.join("ca.key"), 0o600, authority.key_pem().as_bytes())?;
        write(&dir.join("ca.pem"), 0o644, authority.pem().as_bytes())?;
        Ok(Self {
            dir: dir.to_owned(),
            authority,
            trust_domain: trust_domain.to_owned(),
        })
    }

    /// Takes over the CA that [`DevCerts::create`] left in `dir`. `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`DevCertError`] when its files can't be read, or it is one of another trust domain.
    pub fn open(dir: &Path, trust_domain: &str) -> Result<Option<Self>, DevCertError> {
        let (certificate, key) = (dir.join("ca.pem"), dir.join("ca.key"));
        if !key.exists() {
            return Ok(None);
        }
        let read = |path: PathBuf| match fs::read_to_string(&path) {
            Ok(text) => Ok(Zeroizing::new(text)),
            Err(source) => Err(DevCertError::Unreadable { path, source }),
        };
        let authority = Authority::from_pem(&read(certificate.clone())?, &read(key)?)?;
        if authority.common_name().as_deref() != Some(&Authority::name(trust_domain)) {
            return Err(DevCertError::OtherDomain {
                path: certificate,
                expected: trust_domain.to_owned(),
            });
        }
        Ok(Some(Self {
            dir: dir.to_owned(),
            authority,
            trust_domain: trust_domain.to_owned(),
        }))
    }

    /// Writes `<name>.pem` and `<name>.key` (mode 0600), and says where all files of that node are.
    ///
    /// # Errors
    ///
    /// [`DevCertError`] when `name` is malformed or a file can't be written.
    pub fn node(&self, name: &str, now: SystemTime) -> Result<TlsFiles, DevCertError> {
        let identity = Identity::new(&self.trust_domain, name)?;
        let key = KeyPair::generate().map_err(SignError::Authority)?;
        let certificate = self.authority.sign(&key, &identity, now)?;
        let files = TlsFiles {
            ca: self.dir.join("ca.pem"),
            cert: self.dir.join(format!("{name}.pem")),
            key: self.dir.join(format!("{name}.key")),
        };
        write(&files.key, 0o600, key.serialize_pem().as_bytes())?;
        write(&files.cert, 0o644, certificate.pem().as_bytes())?;
        Ok(files)
    }
}

/// Writes a file that must not be there yet.
pub(super) fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn write(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), DevCertError> {
    write_new(path, mode, bytes).map_err(|source| DevCertError::Io {
        path: path.to_owned(),
        source,
    })
}
