//! From the error of an exchange to the failure that a merchant can act on.

use std::{error::Error as StdError, io, iter, time::Duration};

use super::{
    Failure, FailureCode,
    connect::{ConnectError, Phase},
    tls::SelfSigned,
};

/// The longest message, in characters: it may quote a receiver, and one receiver's words are not to fill the database.
const MESSAGE_CHARS_MAX: usize = 300;

impl Failure {
    /// A failure whose message may quote what a receiver sent: it is cut, and what would not be shown as it stands
    /// (control characters, and those that turn the direction of text) is replaced.
    #[must_use]
    pub fn new(code: FailureCode, message: impl AsRef<str>) -> Self {
        let mut characters = message.as_ref().chars();
        let mut message: String = characters.by_ref().take(MESSAGE_CHARS_MAX).map(showable).collect();
        if characters.next().is_some() {
            message.pop();
            message.push('…');
        }
        Self { code, message }
    }

    /// The deadline passed in `phase`, before the head of the response had come.
    pub(super) fn late(phase: Phase, timeout: Duration) -> Self {
        let missing = match phase {
            Phase::Waiting => "no connection".to_owned(),
            Phase::Connecting(address) => format!("no connection to {address}"),
            Phase::Handshake(Some(address)) => format!("no TLS session with {address}"),
            Phase::Handshake(None) => "no TLS session".to_owned(),
            Phase::Exchange(_) => "no response".to_owned(),
        };
        Self::timeout(&missing, timeout)
    }

    /// `what` is still to come after `timeout`.
    pub(super) fn timeout(what: &str, timeout: Duration) -> Self {
        Self::new(FailureCode::Timeout, format!("{what} within {}", humantime::format_duration(timeout)))
    }

    /// Finds, in the chain of an error's causes, the one that says most.
    pub(super) fn of(error: &(dyn StdError + 'static), phase: Phase) -> Self {
        let mut failure = Self::new(FailureCode::Connection, format!("the exchange failed: {error}"));
        for cause in causes(error) {
            if let Some(ConnectError(failure)) = cause.downcast_ref() {
                return failure.clone();
            } else if let Some(error) = cause.downcast_ref::<rustls::Error>() {
                return Self::new(FailureCode::Tls, untrusted(error));
            } else if let Some(error) = cause.downcast_ref::<hyper::Error>() {
                failure = Self::hyper(error);
            } else if let Some(error) = cause.downcast_ref::<io::Error>() {
                failure = Self::io(error, phase);
            }
        }
        failure
    }

    fn hyper(error: &hyper::Error) -> Self {
        if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            Self::new(FailureCode::Connection, "the connection was closed before the response was complete")
        } else {
            // The last cause is the one in plain words, of HTTP/2 above all.
            let reason = causes(error).last().map_or_else(String::new, ToString::to_string);
            Self::new(FailureCode::Protocol, format!("the response is not HTTP as it should be: {reason}"))
        }
    }

    fn io(error: &io::Error, phase: Phase) -> Self {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionReset, InvalidData, InvalidInput, UnexpectedEof,
        };
        let when = match phase {
            Phase::Handshake(_) => "in the TLS handshake",
            _ => "before the response was complete",
        };
        match error.kind() {
            // This is how hyper reports a body whose chunks are malformed.
            InvalidData | InvalidInput => {
                let message = format!("the response is not HTTP as it should be: {error}");
                Self::new(FailureCode::Protocol, message)
            }
            UnexpectedEof => Self::new(FailureCode::Connection, format!("the connection was closed {when}")),
            ConnectionReset | ConnectionAborted | BrokenPipe => {
                Self::new(FailureCode::Connection, format!("the connection was reset {when}"))
            }
            kind => Self::new(FailureCode::Connection, format!("the connection was lost {when}: {kind}")),
        }
    }
}

/// The character, or what stands for one that would not be shown as it stands.
pub(super) fn showable(character: char) -> char {
    let turns = matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = matches!(character, '\u{2028}' | '\u{2029}');
    if character.is_control() || turns || breaks { '\u{fffd}' } else { character }
}

/// An error, its cause, and so on. An I/O error passes over what it wraps when it is asked for its source.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}

fn untrusted(error: &rustls::Error) -> String {
    use rustls::{
        AlertDescription::{HandshakeFailure, ProtocolVersion},
        CertificateError as C, Error as E,
    };
    let certificate = |reason: &str| format!("the certificate is not trusted: {reason}");
    match error {
        E::InvalidCertificate(C::UnknownIssuer) => {
            certificate("its issuer is unknown, or the chain is incomplete (UnknownIssuer)")
        }
        E::InvalidCertificate(C::Other(other)) if other.0.is::<SelfSigned>() => {
            certificate("it is self-signed, and no root that is trusted here")
        }
        E::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => {
            certificate("it is for another name (NotValidForName)")
        }
        E::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => {
            certificate("it has expired (Expired)")
        }
        E::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => {
            certificate("it is not valid yet (NotValidYet)")
        }
        E::InvalidCertificate(reason) => certificate(&reason.to_string()),
        // What servers without forward secrecy answer: RSA key exchange and CBC ciphers are not spoken here.
        E::AlertReceived(HandshakeFailure | ProtocolVersion) | E::PeerIncompatible(_) => {
            format!(
                "no TLS version and cipher suite in common (TLS 1.2 with ECDHE and AEAD, or 1.3): {error}"
            )
        }
        E::InvalidMessage(_) => format!("what answered does not speak TLS: {error}"),
        _ => format!("no TLS session: {error}"),
    }
}
