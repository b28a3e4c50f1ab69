//! Certificate and key of the data plane.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use super::{Check, Verdict};
use crate::config::Tls;
use crate::ingress::tls::{RENEW, Standing, TlsError, Validity, chain, inspect, key};

/// What everybody on the machine may do with a file. Its group may be meant to read it.
const OTHERS: u32 = 0o007;

pub(super) fn all(tls: &Tls, now: SystemTime) -> Vec<Check> {
    let (cert, private) = (certificate(&tls.cert, now), private(&tls.key));
    let are_readable = cert.is_ok() && private.is_ok();
    let failed =
        |name| move |error: TlsError| Check::failed(name, error.with_causes(), error.remedy());
    let mut checks = vec![
        cert.unwrap_or_else(failed("tls.cert")),
        private.unwrap_or_else(failed("tls.key")),
    ];
    if are_readable {
        let good = Check::good("tls", "certificate and key belong together");
        checks.push(inspect(tls).map_or_else(failed("tls"), |_dates| good));
    }
    checks
}

fn certificate(path: &Path, now: SystemTime) -> Result<Check, TlsError> {
    const NAME: &str = "tls.cert";
    let chain = chain(path)?;
    let file = path.display();
    let count = chain.len();
    let Some(dates) = chain.first().and_then(Validity::of) else {
        return Ok(Check::good(
            NAME,
            format!("{file} holds {count} certificate(s)"),
        ));
    };
    let said = format!("{file} {}", dates.said(now));
    Ok(match dates.standing(now) {
        Standing::Good => Check::good(NAME, format!("{said} and holds {count} certificate(s)")),
        Standing::EndsSoon => Check::new(NAME, Verdict::Warning, said, RENEW),
        Standing::NotYet | Standing::Ended => Check::failed(NAME, said, RENEW),
    })
}

fn private(path: &Path) -> Result<Check, TlsError> {
    const NAME: &str = "tls.key";
    key(path)?;
    let file = path.display();
    let mode = fs::metadata(path).map_or(0, |found| found.permissions().mode() & 0o777);
    if mode & OTHERS != 0 {
        let detail = format!("{file} is open to everybody on this machine (mode {mode:04o})");
        let remedy = format!("chmod 600 {file}, as the user that the gateway runs as");
        return Ok(Check::new(NAME, Verdict::Warning, detail, remedy));
    }
    Ok(Check::good(NAME, format!("{file} holds a private key")))
}
