//! What a receiver's address could be made to reach: names that change what they mean, the service itself, metadata
//! services, other protocols' ports, what was registered under other rules.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::oneshot;

use crate::endpoint_url::tests::{corpus, strict};

use super::{
    super::{
        check::{Checker, Found},
        lookup::Lookups,
        *,
    },
    OK, failure,
    support::{Act, PATIENT, Receiver, SHORT, answer, names, post, rules, settings},
};

/// Answers each lookup with the next of these, the last one for ever, and counts.
struct Turns {
    answers: Mutex<VecDeque<Result<Vec<IpAddr>, String>>>,
    asked: AtomicUsize,
}

impl Turns {
    fn new(answers: &[Result<&[&str], &str>]) -> Arc<Self> {
        let parse = |list: &[&str]| list.iter().map(|address| address.parse().unwrap()).collect();
        let answers =
            answers.iter().map(|answer| answer.map(parse).map_err(str::to_owned)).collect::<VecDeque<_>>();
        Arc::new(Self { answers: Mutex::new(answers), asked: AtomicUsize::new(0) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Resolve for Turns {
    async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>, String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let answer = answers.pop_front().unwrap();
        if answers.is_empty() {
            answers.push_back(answer.clone());
        }
        answer
    }
}

fn transport(resolver: Arc<dyn Resolve>) -> HyperTransport {
    HyperTransport::new(settings(PATIENT), resolver).unwrap()
}

#[tokio::test]
async fn a_name_that_is_rebound_between_two_attempts_is_refused() {
    let receiver = Receiver::start(Act::Close(answer("HTTP/1.1 200 OK\n\n"))).await;
    let url = format!("http://rebound.test:{}/", receiver.address.port());
    let transport = transport(Turns::new(&[Ok(&["127.0.0.1"]), Ok(&["10.0.0.5"])]));
    assert_eq!(post(&transport, &url).await.result.unwrap().status, 200);
    let exchange = post(&transport, &url).await;
    let message = "rebound.test resolved to 10.0.0.5, which is a private address (RFC 1918)";
    assert_eq!(failure(&exchange), (FailureCode::AddressForbidden, message));
    assert_eq!((exchange.address, receiver.connections()), (None, 1));
}

#[tokio::test]
async fn a_name_that_is_rebound_while_its_connection_is_kept_is_refused() {
    let receiver = Receiver::start(Act::Keep(answer(OK))).await;
    let url = format!("http://rebound.test:{}/", receiver.address.port());
    let turns = Turns::new(&[Ok(&["127.0.0.1"]), Ok(&["127.0.0.1", "169.254.169.254"]), Ok(&["127.0.0.1"])]);
    let transport = transport(turns);
    assert_eq!(post(&transport, &url).await.result.unwrap().status, 200);
    let exchange = post(&transport, &url).await;
    let message = "rebound.test resolved to 169.254.169.254, which is a cloud metadata service";
    assert_eq!(failure(&exchange), (FailureCode::AddressForbidden, message));
    assert_eq!(post(&transport, &url).await.result.unwrap().status, 200);
    assert_eq!(receiver.connections(), 1, "the connection was there all the time");
}

#[tokio::test]
async fn a_kept_connection_serves_while_its_name_does_not_resolve() {
    let receiver = Receiver::start(Act::Keep(answer(OK))).await;
    let url = format!("http://receiver.test:{}/", receiver.address.port());
    let transport = transport(Turns::new(&[Ok(&["127.0.0.1"]), Err("its name servers do not answer")]));
    for _ in 0..2 {
        assert_eq!(post(&transport, &url).await.result.unwrap().status, 200);
    }
    assert_eq!(receiver.connections(), 1);
}

/// Answers each lookup with the next of these, once it is told to.
struct Slow(Mutex<VecDeque<(oneshot::Receiver<()>, IpAddr)>>);

impl Slow {
    /// The resolver, and for each answer what has it come.
    fn new(answers: &[&str]) -> (Arc<Self>, VecDeque<oneshot::Sender<()>>) {
        let (mut turns, mut releases) = (VecDeque::new(), VecDeque::new());
        for address in answers {
            let (release, released) = oneshot::channel();
            turns.push_back((released, address.parse().unwrap()));
            releases.push_back(release);
        }
        (Arc::new(Self(Mutex::new(turns))), releases)
    }
}

#[async_trait]
impl Resolve for Slow {
    async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>, String> {
        let (released, address) = self.0.lock().unwrap().pop_front().unwrap();
        released.await.map_err(|_| "the test is over".to_owned())?;
        Ok(vec![address])
    }
}

#[tokio::test]
async fn name_servers_that_stop_answering_cost_one_attempt_a_moment_and_the_last_answer_serves_on() {
    for (act, connections) in [(Act::Keep(answer(OK)), 1), (Act::Close(answer("HTTP/1.1 200 OK\n\n")), 3)] {
        let receiver = Receiver::start(act).await;
        let url = format!("http://receiver.test:{}/", receiver.address.port());
        let (resolver, mut releases) = Slow::new(&["127.0.0.1"; 3]);
        releases.pop_front().unwrap().send(()).unwrap();
        let transport = transport(Arc::clone(&resolver) as Arc<dyn Resolve>);
        for _ in 0..3 {
            let exchange = post(&transport, &url).await;
            assert_eq!(exchange.address, Some(receiver.address));
            assert!(exchange.duration < PATIENT, "which is how long a name may take otherwise");
            assert_eq!(exchange.result.unwrap().status, 200);
        }
        assert_eq!(receiver.connections(), connections);
        assert_eq!(resolver.0.lock().unwrap().len(), 1, "while one question goes on, nobody else asks");
    }
}

#[tokio::test]
async fn an_answer_that_comes_late_is_judged_and_keeps_the_one_before_from_being_used() {
    let receiver = Receiver::start(Act::Keep(answer(OK))).await;
    let url = format!("http://rebound.test:{}/", receiver.address.port());
    let (resolver, mut releases) = Slow::new(&["127.0.0.1", "169.254.169.254", "127.0.0.1"]);
    releases.pop_front().unwrap().send(()).unwrap();
    let transport = transport(resolver);
    for _ in 0..2 {
        assert_eq!(post(&transport, &url).await.result.unwrap().status, 200);
    }
    releases.pop_front().unwrap().send(()).unwrap();
    // The question that went on gets its turn, on this one thread.
    tokio::task::yield_now().await;
    let exchange = post(&transport, &url).await;
    let message = "rebound.test resolved to 169.254.169.254, which is a cloud metadata service";
    assert_eq!(failure(&exchange), (FailureCode::AddressForbidden, message));
}

#[tokio::test]
async fn an_answer_as_old_as_a_connection_may_be_serves_no_longer() {
    let receiver = Receiver::start(Act::Keep(answer(OK))).await;
    let url = format!("http://receiver.test:{}/", receiver.address.port());
    let mut settings = settings(SHORT);
    settings.connections.age = Duration::ZERO;
    let (resolver, mut releases) = Slow::new(&["127.0.0.1"; 2]);
    releases.pop_front().unwrap().send(()).unwrap();
    let transport = HyperTransport::new(settings, resolver).unwrap();
    assert_eq!(post(&transport, &url).await.result.unwrap().status, 200);
    let exchange = post(&transport, &url).await;
    assert_eq!(failure(&exchange).0, FailureCode::Timeout);
    assert_eq!((exchange.address, receiver.connections()), (None, 1));
}

#[tokio::test]
async fn an_allowed_name_is_called_in_a_private_network_and_another_one_there_is_not() {
    let allow_names = vec!["*.corp".parse().unwrap(), "receiver".parse().unwrap()];
    let private = &["10.0.0.5"][..];
    let resolver = names(&[
        ("a.corp", private),
        ("receiver", private),
        ("other.test", private),
        ("b.corp", &["10.0.0.5", "169.254.169.254"]),
    ]);
    let checker = Checker {
        rules: Arc::new(CallRules { allow_names, ..rules() }),
        lookups: Some(Lookups::new(resolver, PATIENT, PATIENT)),
    };
    let check = async |url: &'static str| match checker.check(&url.parse().unwrap()).await {
        Ok(Found::Addresses(addresses)) => Ok(addresses),
        Ok(found) => panic!("{url}: {found:?}"),
        Err(Failure { code: FailureCode::AddressForbidden, message }) => Err(message),
        Err(failure) => panic!("{url}: {failure:?}"),
    };
    for url in ["http://a.corp/", "http://receiver/"] {
        assert_eq!(check(url).await, Ok(vec![([10, 0, 0, 5], 80).into()]), "{url}");
    }
    for (url, message) in [
        ("http://other.test/", "other.test resolved to 10.0.0.5, which is a private address (RFC 1918)"),
        ("http://10.0.0.5/", "10.0.0.5 is a private address (RFC 1918)"),
        ("http://b.corp/", "b.corp resolved to 169.254.169.254, which is a cloud metadata service"),
        ("http://other/", "other is a local name (it has no dot)"),
    ] {
        assert_eq!(check(url).await, Err(message.to_owned()), "{url}");
    }
}

#[tokio::test]
async fn the_checked_address_is_called_and_the_name_is_asked_once() {
    let receiver = Receiver::start(Act::Close(answer("HTTP/1.1 200 OK\n\n"))).await;
    // Whoever asked again would be told of another address.
    let turns = Turns::new(&[Ok(&["127.0.0.1"]), Ok(&["127.0.0.9"])]);
    let transport = transport(Arc::clone(&turns) as Arc<dyn Resolve>);
    let url = format!("http://rebound.test:{}/", receiver.address.port());
    let exchange = post(&transport, url).await;
    assert_eq!((exchange.address, exchange.result.unwrap().status), (Some(receiver.address), 200));
    assert_eq!((turns.asked(), receiver.connections()), (1, 1));
}

#[tokio::test]
async fn an_http_endpoint_of_development_is_not_called_in_production() {
    let receiver = Receiver::start(Act::Keep(answer(OK))).await;
    let mut settings = settings(SHORT);
    settings.rules = Arc::new(CallRules { allow_http: false, ..rules() });
    let transport = HyperTransport::new(settings, names(&[])).unwrap();
    let exchange = post(&transport, receiver.url()).await;
    let message = "http is not called here: the url must be https";
    assert_eq!(failure(&exchange), (FailureCode::AddressForbidden, message));
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn the_services_own_listener_is_not_called_by_address_or_name() {
    let own = Receiver::start(Act::Keep(answer(OK))).await;
    let port = own.address.port();
    for listens_on in [own.address, ([0, 0, 0, 0], port).into(), ([0u16; 8], port).into()] {
        let mut settings = settings(SHORT);
        settings.rules = Arc::new(CallRules { own: vec![listens_on], ..rules() });
        let transport = HyperTransport::new(settings, names(&[("own.test", &["127.0.0.1"])])).unwrap();
        for (host, message) in [
            ("127.0.0.1", "127.0.0.1 is the service itself"),
            ("[::ffff:7f00:1]", "::ffff:127.0.0.1 is the service itself"),
            ("own.test", "own.test resolved to 127.0.0.1, which is the service itself"),
            ("localhost", "localhost is the service itself"),
        ] {
            let exchange = post(&transport, format!("http://{host}:{port}/v1/events")).await;
            assert_eq!(failure(&exchange), (FailureCode::AddressForbidden, message), "{listens_on}");
        }
    }
    assert_eq!(own.connections(), 0);
}

#[tokio::test]
async fn ports_and_names_outside_the_rules_are_refused_at_delivery_without_asking_for_the_name() {
    let turns = Turns::new(&[Ok(&["127.0.0.1"])]);
    let mut settings = settings(SHORT);
    settings.rules =
        Arc::new(CallRules { ports: vec!["443".parse().unwrap(), "1024-65535".parse().unwrap()], ..rules() });
    let transport = HyperTransport::new(settings, Arc::clone(&turns) as Arc<dyn Resolve>).unwrap();
    for (url, message) in [
        ("http://mail.test:25/", "port 25 is not called here; those that are: 443, 1024-65535"),
        ("http://mail.test/", "port 80 is not called here; those that are: 443, 1024-65535"),
        ("https://metadata/", "metadata is the name of a cloud metadata service"),
        ("https://metadata.google.internal/", "metadata.google.internal is a local name (.internal)"),
        ("https://kubernetes.default.svc/", "kubernetes.default.svc is a local name (.svc)"),
        (
            "https://metadata.tencentyun.com/",
            "metadata.tencentyun.com is the name of a cloud metadata service",
        ),
    ] {
        let exchange = post(&transport, url).await;
        assert_eq!(failure(&exchange), (FailureCode::AddressForbidden, message), "{url}");
    }
    assert_eq!(turns.asked(), 0);
}

#[tokio::test]
async fn what_registration_refuses_is_not_called_either() {
    let turns = Turns::new(&[Ok(&["8.8.8.8"])]);
    let mut settings = settings(SHORT);
    settings.rules = Arc::new(strict());
    let transport = HyperTransport::new(settings, Arc::clone(&turns) as Arc<dyn Resolve>).unwrap();
    for (verdict, _, form) in corpus() {
        if verdict == "refuse" {
            let exchange = post(&transport, &form).await;
            assert_eq!(failure(&exchange).0, FailureCode::AddressForbidden, "{form}");
        }
    }
    assert_eq!(turns.asked(), 0);
}
