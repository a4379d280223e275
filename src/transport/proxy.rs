//! Connecting through a forward proxy: CONNECT (RFC 9110, section 9.3.6) or SOCKS5 (RFC 1928, RFC 1929). Names go to the
//! proxy as they are, so which addresses are called is the proxy's decision. Merchants learn what is true of the address
//! that they gave, and nothing of the proxy; operators find its own words in the log.

use std::{
    fmt, io,
    net::IpAddr,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use url::Url;

use super::{Failure, FailureCode};
use crate::rarely::Rarely;

/// The longest head of an answer to CONNECT, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// A forward proxy.
pub struct Proxy {
    protocol: Protocol,
    host: String,
    port: u16,
    credentials: Option<Credentials>,
    /// Of what any merchant can bring about, and of what is wrong with the proxy itself.
    refusals: Rarely,
    failures: Rarely,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Connect,
    Socks5,
}

struct Credentials {
    user: String,
    password: SecretString,
}

impl Proxy {
    /// Reads `http://user:password@host:port` or `socks5://…`; the credentials may be left out. In them, what has a meaning
    /// in a URL is percent-encoded.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let (protocol, default_port) = match url.scheme() {
            "http" => (Protocol::Connect, 80),
            "socks5" => (Protocol::Socks5, 1080),
            _ => return None,
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return None;
        }
        let host = url.host_str().filter(|host| !host.is_empty() && !host.contains('%'))?;
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => {
                let (user, password) = (decoded(user)?, decoded(password.unwrap_or_default())?);
                let carried = match protocol {
                    // A colon ends the user's name (RFC 7617, section 2).
                    Protocol::Connect => !user.contains(':'),
                    // Both are counted in one byte, and a user there is (RFC 1929, section 2).
                    Protocol::Socks5 => (1..=255).contains(&user.len()) && password.len() <= 255,
                };
                if !carried || user.chars().chain(password.chars()).any(char::is_control) {
                    return None;
                }
                Some(Credentials { user, password: password.into() })
            }
        };
        Some(Self {
            protocol,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: Some(url.port().unwrap_or(default_port)).filter(|port| *port > 0)?,
            credentials,
            refusals: Rarely::default(),
            failures: Rarely::default(),
        })
    }

    /// A connection through the proxy, which may take as long as this. `host` is as it stands in an address: IPv6 in
    /// brackets.
    pub(super) async fn connect(&self, host: &str, port: u16, limit: Duration) -> Result<TcpStream, Failure> {
        let failed = |message| Failure::new(FailureCode::Connection, message);
        match timeout(limit, self.ask(host, port)).await {
            Ok(Ok((stream, Answer::Connected))) => Ok(stream),
            Ok(Ok((_, Answer::Refused(why)))) => {
                report(&self.refusals, host, why);
                let message = "the network that deliveries come from does not let this address be called";
                Err(Failure::new(FailureCode::AddressForbidden, message))
            }
            Ok(Ok((_, Answer::Unreachable(why)))) => {
                report(&self.refusals, host, why);
                Err(failed(format!("no connection was made: {why}")))
            }
            Ok(Ok((_, Answer::Failed(why)))) => {
                report(&self.failures, host, &why);
                Err(failed(OUR_FAULT.to_owned()))
            }
            Ok(Err(error)) => {
                report(&self.failures, host, &error.kind().to_string());
                Err(failed(OUR_FAULT.to_owned()))
            }
            Err(_) => {
                report(&self.failures, host, "no answer in time");
                Err(Failure::timeout("no connection was made", limit))
            }
        }
    }

    async fn ask(&self, host: &str, port: u16) -> io::Result<(TcpStream, Answer)> {
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let _ = stream.set_nodelay(true);
        let answer = match self.protocol {
            Protocol::Connect => self.ask_connect(&mut stream, host, port).await?,
            Protocol::Socks5 => self.ask_socks5(&mut stream, host, port).await?,
        };
        Ok((stream, answer))
    }

    async fn ask_connect(&self, stream: &mut TcpStream, host: &str, port: u16) -> io::Result<Answer> {
        let credentials =
            self.credentials.as_ref().map_or_else(String::new, |Credentials { user, password }| {
                let both = BASE64.encode(format!("{user}:{}", password.expose_secret()));
                format!("Proxy-Authorization: Basic {both}\r\n")
            });
        let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{credentials}\r\n");
        stream.write_all(request.as_bytes()).await?;
        // Byte by byte, for what follows the head belongs to the receiver.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() >= HEAD_BYTES_MAX {
                return Ok(Answer::Failed("its answer is too long".to_owned()));
            }
            head.push(stream.read_u8().await?);
        }
        let status = head.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
        let status = status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u16>().ok());
        Ok(match status {
            Some(200..=299) => Answer::Connected,
            Some(403) => Answer::Refused("it answered 403"),
            // RFC 9110, section 15.6: what is behind a gateway does not answer as it should, or not in time.
            Some(502) => Answer::Unreachable("the address cannot be reached"),
            Some(504) => Answer::Unreachable("the address did not answer in time"),
            Some(status) => Answer::Failed(format!("it answered {status}")),
            None => Answer::Failed("its answer is not HTTP".to_owned()),
        })
    }

    async fn ask_socks5(&self, stream: &mut TcpStream, host: &str, port: u16) -> io::Result<Answer> {
        let methods: &[u8] = if self.credentials.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] };
        stream.write_all(methods).await?;
        match (read(stream).await?, &self.credentials) {
            ([5, 0], _) => {}
            ([5, 2], Some(Credentials { user, password })) => {
                let mut login = vec![1];
                push_counted(&mut login, user.as_bytes());
                push_counted(&mut login, password.expose_secret().as_bytes());
                stream.write_all(&login).await?;
                let [_, 0] = read(stream).await? else {
                    return Ok(Answer::Failed("it did not accept the service's credentials".to_owned()));
                };
            }
            ([5, _], _) => return Ok(Answer::Failed("it asks for other credentials".to_owned())),
            _ => return Ok(Answer::Failed("its answer is not SOCKS5".to_owned())),
        }
        let mut request = vec![5, 1, 0];
        match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(IpAddr::V4(address)) => {
                request.push(1);
                request.extend(address.octets());
            }
            Ok(IpAddr::V6(address)) => {
                request.push(4);
                request.extend(address.octets());
            }
            Err(_) => {
                request.push(3);
                push_counted(&mut request, host.as_bytes());
            }
        }
        request.extend(port.to_be_bytes());
        stream.write_all(&request).await?;
        let [5, reply, _, kind] = read(stream).await? else {
            return Ok(Answer::Failed("its answer is not SOCKS5".to_owned()));
        };
        // Where it is connected from is of no use, but stands before what the receiver says.
        let bound = match kind {
            1 => 4,
            3 => usize::from(stream.read_u8().await?),
            _ => 16,
        };
        if reply == 0 {
            stream.read_exact(&mut vec![0; bound + 2]).await?;
        }
        Ok(match reply {
            0 => Answer::Connected,
            2 => Answer::Refused("its rules do not allow it"),
            3 => Answer::Unreachable("the network is unreachable"),
            4 => Answer::Unreachable("the host is unreachable"),
            5 => Answer::Unreachable("the connection was refused"),
            reply => Answer::Failed(format!("it answered {reply}")),
        })
    }
}

/// Tells the operator, though not of each one.
fn report(kind: &Rarely, host: &str, why: &str) {
    if let Some(times) = kind.happened(Instant::now()) {
        tracing::warn!(host, why, times, "the forward proxy made no connection");
    }
}

/// What a merchant is told where the proxy itself is what fails.
const OUR_FAULT: &str = "no connection was made, for a reason on the sending side";

/// What a proxy says.
enum Answer {
    Connected,
    /// It does not let the address be called.
    Refused(&'static str),
    /// The address cannot be reached from there.
    Unreachable(&'static str),
    /// The proxy itself does not do as it should.
    Failed(String),
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxy")
    }
}

async fn read<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Adds bytes behind their number, which is at most 255: that of a name of the DNS, or checked by [`Proxy::parse`].
fn push_counted(to: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(255)];
    to.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    to.extend(bytes);
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.extend(hex::decode(part.get(..2)?).ok()?);
        bytes.extend(part.get(2..)?.as_bytes());
    }
    String::from_utf8(bytes).ok()
}
