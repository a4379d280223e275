//! Connecting through a forward proxy: CONNECT (RFC 9110, section 9.3.6) or SOCKS5 (RFC 1928, RFC 1929). Names go to the
//! proxy as they are, so which addresses are called is the proxy's decision. Merchants learn nothing of it but its answer.

use std::{fmt, io, net::IpAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use url::Url;

use super::{Failure, FailureCode};

/// The longest head of an answer to CONNECT, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// A forward proxy.
pub struct Proxy {
    protocol: Protocol,
    host: String,
    port: u16,
    credentials: Option<Credentials>,
}

#[derive(Clone, Copy)]
enum Protocol {
    Connect,
    Socks5,
}

struct Credentials {
    user: String,
    password: SecretString,
}

impl Proxy {
    /// Reads `http://user:password@host:port` or `socks5://…`; the credentials may be left out.
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
        let host = url.host_str().filter(|host| !host.is_empty())?;
        let credentials = if url.username().is_empty() {
            None
        } else {
            let user = decoded(url.username())?;
            let password = decoded(url.password().unwrap_or_default())?;
            // SOCKS5 counts both in one byte.
            if user.len() > 255 || password.len() > 255 {
                return None;
            }
            Some(Credentials { user, password: password.into() })
        };
        Some(Self {
            protocol,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port().unwrap_or(default_port),
            credentials,
        })
    }

    /// A connection through the proxy. `host` is as it stands in an address: IPv6 in brackets.
    pub(super) async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Failure> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let mut stream = connecting.await.map_err(|error| {
            Failure::new(FailureCode::Connection, format!("cannot connect to the proxy: {}", error.kind()))
        })?;
        let _ = stream.set_nodelay(true);
        let answer = match self.protocol {
            Protocol::Connect => self.ask_connect(&mut stream, host, port).await,
            Protocol::Socks5 => self.ask_socks5(&mut stream, host, port).await,
        };
        match answer {
            Ok(Answer::Connected) => Ok(stream),
            Ok(Answer::Refused) => {
                Err(Failure::new(FailureCode::AddressForbidden, "the proxy refused the address"))
            }
            Ok(Answer::Failed(why)) => {
                Err(Failure::new(FailureCode::Connection, format!("the proxy made no connection: {why}")))
            }
            Err(error) => Err(Failure::new(
                FailureCode::Connection,
                format!("the proxy made no connection: {}", error.kind()),
            )),
        }
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
            Some(403) => Answer::Refused,
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
            2 => Answer::Refused,
            3 => Answer::Failed("the network is unreachable".to_owned()),
            4 => Answer::Failed("the host is unreachable".to_owned()),
            5 => Answer::Failed("the connection was refused".to_owned()),
            reply => Answer::Failed(format!("it answered {reply}")),
        })
    }
}

/// What a proxy says.
enum Answer {
    Connected,
    Refused,
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
