//! Gets a node to where its engine can start: with a number, a certificate and a port.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::peer::v1 as pb;

use super::error::NetworkError;
use super::fetcher::Fetcher;
use super::network::{Net, NetParts};
use super::options::{Begin, NetworkOptions};
use super::others::Others;
use super::spends::Spends;
use crate::Clock;
use crate::agreement::Agreed;
use crate::audit::Guards;
use crate::command::NodesCommand;
use crate::error::OpenError;
use crate::join::{JoinOptions, Papers, Record, RecordError, ask};
use crate::raft::Role;
use crate::random::random;
use crate::removal::Removal;
use crate::secret::Secret;
use crate::serving::Serving;
use crate::store;
use crate::tls::{Authority, Credentials, SigningRequest};

/// How long a node tries to be admitted before it gives up.
const ADMISSION_MAX: Duration = Duration::from_secs(60);
/// How often the system is asked for a port that is free for TCP and UDP.
const PORT_ATTEMPTS: u32 = 16;

/// What the engine needs to start among others.
pub(crate) struct Prepared {
    /// The way to the others.
    pub(crate) net: Net,
    /// Gets files of other members.
    pub(crate) fetcher: Fetcher,
    /// What this node is when its store is new.
    pub(crate) role: Role,
    /// Where the others reach it.
    pub(crate) address: String,
    /// Opens the secrets in the replicated state.
    pub(crate) key: Secret,
    /// Whether it may serve.
    pub(crate) serving: Serving,
    /// Waits until entries bind every node.
    pub(crate) others: Others,
    /// How its state compares to that of the others.
    pub(crate) agreed: Agreed,
    /// Decides small quotas, here and at the leader.
    pub(crate) spends: Spends,
    /// Whether the cluster has removed this node.
    pub(crate) removal: Removal,
}

/// Prepares node `name`, whose files are in `dir`. Blocks: a new node waits until the cluster has admitted it.
pub(crate) fn prepare(
    options: &NetworkOptions,
    dir: &Path,
    name: &str,
    (clock, guards): (Clock, &Guards),
) -> Result<Prepared, OpenError> {
    let (tcp, udp, local) = bind(&options.listen)?;
    let address = match options.advertise.as_str() {
        "" => local.to_string(),
        advertise => advertise.to_owned(),
    };
    // Who makes a cluster asks nobody, even where it has asked before and was never answered.
    let is_void = |record: &Record| record.raft_id() == 0 && matches!(options.begin, Begin::Found);
    let record = Record::read(dir).map_err(record_error)?;
    let mut record = match record.filter(|record| !is_void(record)) {
        Some(record) => record,
        None => first_record(options, dir)?,
    };
    if record.raft_id() == 0 {
        let asking = (name, address.as_str(), clock);
        join(&mut record, options, dir, asking, guards)?;
    }
    let credentials =
        Credentials::load(options.tls.clone(), name, clock).map_err(NetworkError::from)?;
    let key = store::read_or_create_key(dir)?;
    let boot = record.begin_life().map_err(record_error)?;
    let role = match record.raft_id() {
        id if id == NodesCommand::FIRST.0 => Role::Founder,
        id => Role::Joined(id),
    };
    let (serving, others) = (Serving::leased(), Others::default());
    let agreed = Agreed::default();
    let spends = Spends::default();
    let removal = Removal::default();
    let parts = NetParts {
        dir: dir.to_owned(),
        authority: authority(options)?.map(Arc::new),
        credentials,
        record,
        boot,
        peers: options.peers.keys().cloned().collect(),
        key: key.clone(),
        guards: guards.clone(),
        serving: serving.clone(),
        others: others.clone(),
        agreed: agreed.clone(),
        spends: spends.clone(),
        removal: removal.clone(),
        tcp,
        udp,
    };
    let net = Net::new(parts);
    Ok(Prepared {
        fetcher: net.fetcher(),
        net,
        role,
        address,
        key,
        serving,
        others,
        agreed,
        spends,
        removal,
    })
}

impl NetworkOptions {
    /// Whether the certificate files are such as node `name` can start with. Blocks on them.
    ///
    /// # Errors
    ///
    /// [`NetworkError`] names the file and what is wrong with it.
    pub fn check_files(&self, name: &str, clock: Clock) -> Result<(), NetworkError> {
        Credentials::load(self.tls.clone(), name, clock)?;
        authority(self).map(drop)
    }
}

/// Kept before anybody is asked, so that a node which ends in the middle asks again as the same one.
fn first_record(options: &NetworkOptions, dir: &Path) -> Result<Record, OpenError> {
    match options.begin {
        Begin::Found => Ok(Record::founder(dir, NodesCommand::FIRST.0, Bytes::new())),
        Begin::Join { .. } => {
            let record = Record::asking(dir, random()?);
            record.save().map_err(record_error)?;
            Ok(record)
        }
    }
}

fn join(
    record: &mut Record,
    options: &NetworkOptions,
    dir: &Path,
    (name, address, clock): (&str, &str, Clock),
    guards: &Guards,
) -> Result<(), OpenError> {
    let (token, learner) = match &options.begin {
        Begin::Join { token, learner } => (token.clone(), *learner),
        Begin::Found => (None, false),
    };
    let papers = match token {
        Some(token) if !options.tls.cert.exists() => Papers::Token {
            token,
            request: SigningRequest::generate(name).map_err(OpenError::engine)?,
            clock,
        },
        token => {
            let credentials = Credentials::load(options.tls.clone(), name, clock);
            Papers::Certificate(credentials.map_err(NetworkError::from)?, token)
        }
    };
    let others = options.peers.iter().filter(|(peer, _)| *peer != name);
    let asking = JoinOptions {
        name: name.to_owned(),
        address: address.to_owned(),
        members: others.map(|(_, address)| address.clone()).collect(),
        papers,
        limit: ADMISSION_MAX,
        nonce: record.nonce(),
        learner,
        guards: guards.clone(),
    };
    let admitted = ask_blocking(&asking)?;
    if let Papers::Token { request, .. } = &asking.papers {
        let installed = request.install(&options.tls, &admitted.certificates);
        installed.map_err(NetworkError::Certificate)?;
    }
    let key = <[u8; 32]>::try_from(admitted.key.as_ref()).map_err(|_| {
        let why = "the cluster sent no key".to_owned();
        NetworkError::NotAdmitted { why }
    })?;
    store::install_key(dir, &Secret::from_bytes(key))?;
    record.admit(admitted);
    Ok(())
}

/// On a runtime of its own: the engine's does not run yet.
fn ask_blocking(options: &JoinOptions) -> Result<pb::Admitted, OpenError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(OpenError::engine)?;
    runtime.block_on(ask(options)).map_err(|error| {
        let cause = std::error::Error::source(&error);
        let why = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        NetworkError::NotAdmitted { why }.into()
    })
}

fn authority(options: &NetworkOptions) -> Result<Option<Authority>, NetworkError> {
    let Some(key) = &options.ca_key else {
        return Ok(None);
    };
    let ca = &options.tls.ca;
    let unusable = |why: String| NetworkError::CaKey {
        key: key.clone(),
        ca: ca.clone(),
        why,
    };
    let read =
        |path: &Path| std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()));
    let (certificate, key_pem) = (read(ca)?, zeroize::Zeroizing::new(read(key)?));
    Authority::from_pem(&certificate, &key_pem)
        .map(Some)
        .map_err(|error| unusable(error.to_string()))
}

/// One port, TCP and UDP.
fn bind(address: &str) -> Result<(TcpListener, UdpSocket, SocketAddr), NetworkError> {
    let failed = |protocol| {
        move |source: io::Error| NetworkError::Listen {
            protocol,
            address: address.to_owned(),
            source,
        }
    };
    let mut n_attempts = 0;
    loop {
        n_attempts += 1;
        let tcp = TcpListener::bind(address).map_err(failed("TCP"))?;
        let local = tcp.local_addr().map_err(failed("TCP"))?;
        tcp.set_nonblocking(true).map_err(failed("TCP"))?;
        match UdpSocket::bind(local) {
            Ok(udp) => return Ok((tcp, udp, local)),
            // The system chose a port that is free for TCP only.
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && address.ends_with(":0")
                    && n_attempts < PORT_ATTEMPTS => {}
            Err(error) => return Err(failed("UDP")(error)),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn record_error(error: RecordError) -> NetworkError {
    let what = match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    NetworkError::Record { what }
}
