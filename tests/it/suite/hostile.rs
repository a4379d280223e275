//! Receivers that attack the service, as endpoints: what they do is classified and shown safely, and their neighbours
//! get their deliveries.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::TestApp;
use crate::support::{
    charge, id,
    receiver::{Act, Receiver},
};

/// A receiver that, once something of a request has come, sends this and then that without end.
async fn attacker(once: Vec<u8>, flood: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(attack(stream, once.clone(), flood.clone()));
        }
    });
    address
}

async fn attack(mut stream: TcpStream, once: Vec<u8>, flood: Vec<u8>) {
    let mut heard = [0; 4096];
    if stream.read(&mut heard).await.is_err() || stream.write_all(&once).await.is_err() {
        return;
    }
    if !flood.is_empty() {
        let flood = flood.repeat(1 + 16 * 1024 / flood.len());
        while stream.write_all(&flood).await.is_ok() {}
    }
    while stream.read(&mut heard).await.is_ok_and(|read| read > 0) {}
}

#[tokio::test]
async fn hostile_endpoints_are_classified_and_do_not_keep_a_healthy_one_from_its_deliveries() {
    let app = TestApp::start().await;
    let head = "HTTP/1.1 200 OK\r\n";
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
    for (once, flood) in [
        ("", ""),
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("", "\0\u{1b}[31m\u{202e}"),
        ("", "x"),
        (head, "x: y\r\n"),
        ("HTTP/1.1 200 OK\r\nx: ", "y"),
        (&chunked, "1;x"),
        (&format!("{chunked}0\r\n"), "x: y\r\n"),
        ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhalf", ""),
        ("HTTP/1.1 307 Again\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n", ""),
        // The beginning of HTTP/2, to whom speaks HTTP/1.
        ("\0\0\0\x04\0\0\0\0\0", "\0\0\x08\x06\0\0\0\0\x0012345678"),
    ] {
        let address = attacker(once.as_bytes().to_vec(), flood.as_bytes().to_vec()).await;
        app.endpoint(&format!("http://{address}/hooks")).await;
    }
    let healthy = Receiver::start(Act::status(200)).await;
    app.endpoint(&healthy.url()).await;
    let mut events = Vec::new();
    for _ in 0..3 {
        events.push(app.publish(charge()).await);
    }
    healthy.until(events.len()).await;
    app.advance("1s").await;
    let path = format!("/v1/events/{}/deliveries", id(&events[0]));
    let deliveries = app.public.get(&path).await.expect(200);
    let deliveries = deliveries["data"].as_array().unwrap();
    assert_eq!(deliveries.len(), 13);
    for delivery in deliveries {
        let delivery = app.public.get(&format!("/v1/deliveries/{}", id(delivery))).await.expect(200);
        let attempt = &delivery["attempts"][0];
        if delivery["status"] == "succeeded" {
            assert_eq!(attempt["address"], healthy.address.to_string(), "{attempt}");
            continue;
        }
        let code = attempt["failure_code"].as_str().unwrap();
        assert!(["protocol", "connection", "timeout", "redirect"].contains(&code), "{attempt}");
        let message = attempt["failure_message"].as_str().unwrap();
        assert!(message.chars().count() <= 300 && !message.contains(char::is_control), "{attempt}");
    }
    app.stop().await;
}

#[tokio::test]
async fn bodies_that_are_not_text_are_stored_and_shown_safely() {
    let app = TestApp::start().await;
    let body =
        [&b"a\0b\xff\xfe\xc3\x28"[..], "\u{202e}</script>\"\u{1b}[31m".as_bytes(), b"\xed\xa0\x80"].concat();
    let head = format!("HTTP/1.1 500 X\r\ncontent-length: {}\r\n\r\n", body.len());
    let address = attacker([head.as_bytes(), &body].concat(), Vec::new()).await;
    app.endpoint(&format!("http://{address}/")).await;
    let event = app.publish(charge()).await;
    app.advance("1s").await;
    let delivery = app.delivery_of(&event).await;
    let shown = &delivery["attempts"][0]["response_body"];
    assert_eq!(*shown, Value::String(String::from_utf8_lossy(&body).into_owned()));
    app.stop().await;
}
