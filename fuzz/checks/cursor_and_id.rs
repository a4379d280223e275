//! Ids, and the query of a list with its cursor.

use std::fmt::Debug;

use k_webhooks::{
    clock::UnixMs,
    http::public::{EventListing, parse_event_list},
    id::{EventId, Id, Kind},
    merchant::MerchantId,
    store::Position,
};

pub(crate) fn check(data: &[u8]) {
    if let Some(bytes) = data.first_chunk::<8>() {
        let lowest = EventId::lowest_at(UnixMs(i64::from_le_bytes(*bytes)));
        assert_eq!(lowest.to_string().parse(), Ok(lowest));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    // One text, one id, one kind.
    let kinds = [
        id::<k_webhooks::id::EventKind>(text),
        id::<k_webhooks::id::EndpointKind>(text),
        id::<k_webhooks::id::DeliveryKind>(text),
        id::<k_webhooks::id::AttemptKind>(text),
        id::<k_webhooks::id::KeyKind>(text),
        id::<k_webhooks::id::RequestKind>(text),
        id::<k_webhooks::id::SecretKind>(text),
        id::<k_webhooks::id::LeaseKind>(text),
        id::<k_webhooks::id::ProcessKind>(text),
    ];
    assert!(kinds.into_iter().filter(|is| *is).count() <= 1, "{text}");
    if let Ok(merchant) = text.parse::<MerchantId>() {
        assert_eq!(merchant.as_str(), text);
        assert!(
            text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'),
            "{text}"
        );
    }

    let Ok(EventListing { filter, page, .. }) = parse_event_list(Some(text)) else { return };
    assert!((1..=100).contains(&page.limit), "{text}");
    let cursor = match &page.position {
        Position::First => String::new(),
        Position::After(id) => format!("&starting_after={id}"),
        Position::Before(id) => format!("&ending_before={id}"),
    };
    let again = parse_event_list(Some(&format!("limit={}{cursor}", page.limit))).expect("the same page").page;
    assert_eq!(shown(&again), shown(&page), "{text}");
    assert!(
        filter.created_from.is_none_or(|from| from.0 % 1000 == 0 || from.0 == i64::MIN || from.0 == i64::MAX)
    );
}

fn id<K: Kind>(text: &str) -> bool {
    let Ok(id) = text.parse::<Id<K>>() else { return false };
    assert_eq!(id.to_string(), text);
    let json = serde_json::to_string(&id).expect("an id is JSON");
    assert_eq!(serde_json::from_str::<Id<K>>(&json).expect("an id"), id);
    true
}

fn shown(value: &impl Debug) -> String {
    format!("{value:?}")
}
