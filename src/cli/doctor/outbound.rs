//! What endpoints are called through: the resolver, the rules, the trusted roots, the proxy; and where operators are told.

use std::sync::Arc;

use super::Finding;
use crate::{
    app::{call_rules, operators_rules, transport_settings},
    config::Config,
    endpoint_url::EndpointUrl,
    operational::configured,
    transport::{Failure, FailureCode, HyperTransport, SystemResolver, name_servers},
};

const DNS: &str = "dns";
const OPERATIONS: &str = "operations";
const OUTBOUND: &str = "outbound";

pub(super) async fn examine(config: &Config, url: Option<&str>) -> Vec<Finding> {
    let dns = match (config.proxy(), name_servers()) {
        (Some(_), _) => Finding::good(DNS, "names are asked for by security.proxy"),
        (None, Ok(servers)) => {
            let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
            Finding::good(DNS, format!("names are asked for at {}", servers.join(", ")))
        }
        (None, Err(error)) => Finding::failure(
            DNS,
            format!("the system's name servers are not known: {error}"),
            "name them in /etc/resolv.conf: without them no endpoint with a name is called",
        ),
    };
    let listeners = vec![config.server.listen, config.internal.listen];
    let rules = Arc::new(call_rules(config, listeners));
    let operations = match configured::address(&config.operations, &operators_rules(config, &rules)) {
        Ok(None) => {
            Finding::good(OPERATIONS, "nobody is told of endpoints that fail; operations.url says whom")
        }
        Ok(Some(_)) => {
            Finding::good(OPERATIONS, "operational events go to operations.url, which was not tried")
        }
        Err(error) => Finding::failure(
            OPERATIONS,
            error.to_string(),
            "name another one, or see operations.allow_private",
        ),
    };
    let transport =
        HyperTransport::new(transport_settings(config, Arc::clone(&rules)), Arc::new(SystemResolver::new()));
    let outbound = match (transport, url) {
        (Err(error), _) => Finding::failure(OUTBOUND, error.to_string(), "mend the option that is named"),
        (Ok(_), None) => Finding::good(OUTBOUND, "not tried; --url tries an endpoint's address"),
        (Ok(transport), Some(url)) => match EndpointUrl::parse(url, &rules) {
            Err(error) => Finding::failure(
                OUTBOUND,
                format!("{url} could not be registered: it {error}"),
                "it is refused by [security]; see docs/operating.md",
            ),
            Ok(url) => call(&transport, &url).await,
        },
    };
    vec![dns, operations, outbound]
}

async fn call(transport: &HyperTransport, url: &EndpointUrl) -> Finding {
    let exchange = transport.reach(url).await;
    let at = exchange.address.map_or_else(String::new, |address| format!(" at {address}"));
    match exchange.result {
        Ok(response) => {
            let took = exchange.duration.as_millis();
            Finding::good(OUTBOUND, format!("{} answers {}{at} in {took} ms", url.as_str(), response.status))
        }
        Err(Failure { code, message }) => {
            Finding::failure(OUTBOUND, format!("{} ({})", message, code.as_str()), advice(code))
        }
    }
}

fn advice(code: FailureCode) -> &'static str {
    match code {
        FailureCode::Dns => "is the name right, and does this machine's resolver answer?",
        FailureCode::Connection => {
            "is the receiver up, and may this machine call out (firewall, security.proxy)?"
        }
        FailureCode::Timeout => "a firewall that drops, or a receiver that hangs",
        FailureCode::Tls => "the receiver's certificate, or the roots that this machine trusts, or its clock",
        FailureCode::AddressForbidden => "security.allow_networks opens networks that are not public",
        FailureCode::HttpStatus | FailureCode::Redirect | FailureCode::Protocol => {
            "what answers is no web server"
        }
    }
}
