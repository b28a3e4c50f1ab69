//! An address that a node can't listen on, and what to do about it.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// Why a plane does not open.
#[derive(Debug, thiserror::Error)]
pub(super) enum BindError {
    /// Another process has the address.
    #[error("`{}`: something listens on {address} already", plane.setting())]
    Taken {
        plane: Plane,
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// The system does not give it.
    #[error("`{}`: {address} cannot be listened on", plane.setting())]
    Refused {
        plane: Plane,
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

/// Which of a node's listeners.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plane {
    Data,
    Admin,
}

impl Plane {
    /// Key of the configuration.
    fn setting(self) -> &'static str {
        match self {
            Self::Data => "listen",
            Self::Admin => "admin.listen",
        }
    }

    /// Option of `lockgate demo`.
    fn option(self) -> &'static str {
        match self {
            Self::Data => "--listen",
            Self::Admin => "--admin-listen",
        }
    }
}

impl BindError {
    pub(super) fn new(plane: Plane, address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            ErrorKind::AddrInUse => Self::Taken {
                plane,
                address,
                source,
            },
            _ => Self::Refused {
                plane,
                address,
                source,
            },
        }
    }

    /// What to do about it.
    pub(super) fn remedy(&self) -> String {
        let (Self::Taken { plane, .. } | Self::Refused { plane, .. }) = self;
        let (setting, option) = (plane.setting(), plane.option());
        let place = format!("`{setting}` of the configuration, or {option} of `lockgate demo`");
        match self {
            Self::Taken { .. } => format!("end what listens there, or name another port: {place}"),
            Self::Refused { .. } => {
                format!("name an address of this machine and a port above 1023: {place}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(plane: Plane, kind: ErrorKind, message: &str, remedy: &str) {
        let address = SocketAddr::from(([127, 0, 0, 1], 7777));
        let error = BindError::new(plane, address, kind.into());
        assert_eq!(error.to_string(), message);
        assert_eq!(error.remedy(), remedy);
    }

    #[test]
    fn a_taken_port_names_the_address_and_the_setting() {
        check(
            Plane::Data,
            ErrorKind::AddrInUse,
            "`listen`: something listens on 127.0.0.1:7777 already",
            "end what listens there, or name another port: `listen` of the configuration, or --listen of `lockgate demo`",
        );
        check(
            Plane::Admin,
            ErrorKind::PermissionDenied,
            "`admin.listen`: 127.0.0.1:7777 cannot be listened on",
            "name an address of this machine and a port above 1023: `admin.listen` of the configuration, or \
             --admin-listen of `lockgate demo`",
        );
    }
}
