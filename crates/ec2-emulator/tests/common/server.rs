//! The emulator on the wire, and forms sent to it.

use std::net::SocketAddr;

use rehome_ec2_emulator::disks::Disks;
use rehome_ec2_emulator::face::Emulator;
use rehome_ec2_emulator::host::Guests;
use rehome_ec2_emulator::wire::serve;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Versions, by which services are told apart.
pub const EC2: &str = "2016-11-15";
pub const AUTO_SCALING: &str = "2011-01-01";
pub const STS: &str = "2011-06-15";

pub struct Server {
    address: SocketAddr,
}

impl Server {
    /// Serves on a free port of loopback, until the test ends.
    pub async fn start<D: Disks + Send + 'static>(ec2: Emulator<D>, guests: Option<Guests>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of loopback");
        let address = listener.local_addr().expect("it has an address");
        tokio::spawn(serve(listener, ec2, guests));
        Self { address }
    }

    /// Status and body of the reply to a form.
    pub async fn post(&self, version: &str, form: &str) -> (u16, String) {
        let body = format!("Version={version}&{form}");
        let kind = "Content-Type: application/x-www-form-urlencoded";
        self.http("POST", "/", &[kind], &body).await.expect("answered")
    }

    /// Status and body of the reply to any request; none if the connection is closed before a byte comes.
    pub async fn http(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Option<(u16, String)> {
        let headers: String = headers.iter().flat_map(|header| [*header, "\r\n"]).collect();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: ec2\r\nConnection: close\r\nContent-Length: {}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=AKIATEST/20260101/us-east-1/ec2/aws4_request, Signature=0\r\n\
             {headers}\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.expect("read to its end");
        if reply.is_empty() {
            return None;
        }
        let status = reply.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let body = reply.split_once("\r\n\r\n").expect("a body").1.to_owned();
        Some((status, body))
    }
}

/// The text of the first element of that name.
pub fn text<'a>(body: &'a str, name: &str) -> &'a str {
    let after = body.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {body}")).1;
    after.split_once(&format!("</{name}>")).expect("it ends").0
}
