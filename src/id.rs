//! Typed ids that sort by time: a UUID v7, shown as a prefix and 26 Crockford base32 characters (the `TypeID` encoding).

use std::{
    borrow::Cow,
    fmt,
    marker::PhantomData,
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Type, schema::Schema},
};

use crate::{clock::UnixMs, entropy::Entropy};

/// What an id is of.
pub trait Kind: Copy + Eq + Ord + std::hash::Hash + Send + Sync + 'static {
    /// What stands before the underscore.
    const PREFIX: &'static str;
    /// What it is called in messages.
    const NAME: &'static str;
    /// What the type of its ids is called in the documents of the APIs.
    const TYPE: &'static str;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $id:ident $kind:ident $prefix:literal $name:literal,)*) => {$(
        #[doc = concat!("Marks the ids of ", $name, ".")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $kind;

        impl Kind for $kind {
            const PREFIX: &'static str = $prefix;
            const NAME: &'static str = $name;
            const TYPE: &'static str = stringify!($id);
        }

        #[doc = concat!("The id of ", $name, ": `", $prefix, "_` and 26 characters.")]
        pub type $id = Id<$kind>;
    )*};
}

kinds! {
    EventId EventKind "evt" "an event",
    EndpointId EndpointKind "we" "a webhook endpoint",
    DeliveryId DeliveryKind "dlv" "a delivery",
    AttemptId AttemptKind "att" "an attempt",
    BackfillId BackfillKind "bf" "a backfill",
    KeyId KeyKind "key" "an API key",
    RequestId RequestKind "req" "a request",
    SecretId SecretKind "sec" "a signing secret",
    LeaseToken LeaseKind "lease" "a lease",
    AuditEntryId AuditEntryKind "aud" "an audit entry",
    PortalSessionId PortalSessionKind "ps" "a portal session",
    ProcessId ProcessKind "proc" "a process",
    ConsoleSessionId ConsoleSessionKind "cs" "a console session",
}

/// An id of some kind. Its text sorts as its value does, which is by the time it was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id<K> {
    value: u128,
    kind: PhantomData<K>,
}

/// Crockford's base32, in lower case.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 26 characters of five bits hold 130 bits, of which the first two are zero.
const LENGTH: usize = 26;

const PREFIX_LENGTH_MAX: usize = 5;

impl<K: Kind> Id<K> {
    const fn new(value: u128) -> Self {
        Self { value, kind: PhantomData }
    }

    /// The smallest id that can be made at this instant: ids of earlier instants are smaller.
    #[must_use]
    pub fn lowest_at(now: UnixMs) -> Self {
        Self::new(u128::from(milliseconds(now)) << 80)
    }

    /// When it was made. Of many ids made within a millisecond, the last may say the next one.
    #[must_use]
    pub fn made_at(self) -> UnixMs {
        // 48 bits are left.
        UnixMs(i64::try_from(self.value >> 80).unwrap_or(i64::MAX))
    }
}

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Written whole, so that making a `String` of it allocates once.
        let (prefix, mut text) = (K::PREFIX.as_bytes(), [0; PREFIX_LENGTH_MAX + 1 + LENGTH]);
        let text = &mut text[..prefix.len() + 1 + LENGTH];
        text[..prefix.len()].copy_from_slice(prefix);
        text[prefix.len()] = b'_';
        for (place, character) in text[prefix.len() + 1..].iter_mut().rev().enumerate() {
            *character = ALPHABET[(self.value >> (5 * place)) as usize & 31];
        }
        f.write_str(std::str::from_utf8(text).map_err(|_| fmt::Error)?)
    }
}

impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not an id of the kind wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not the id of {name} ({prefix}_…)")]
pub struct NotAnId {
    name: &'static str,
    prefix: &'static str,
}

impl<K: Kind> FromStr for Id<K> {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let suffix = text.strip_prefix(K::PREFIX).and_then(|rest| rest.strip_prefix('_'));
        suffix.and_then(decode).map(Self::new).ok_or(NotAnId { name: K::NAME, prefix: K::PREFIX })
    }
}

fn decode(text: &str) -> Option<u128> {
    // A first character above 7 would not fit 128 bits.
    if text.len() != LENGTH || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes().try_fold(0_u128, |value, byte| {
        let digit = ALPHABET.iter().position(|character| *character == byte)?;
        Some(value << 5 | digit as u128)
    })
}

impl<K: Kind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<K: Kind> PartialSchema for Id<K> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(format!("The id of {}.", K::NAME)))
            .pattern(Some(format!("^{}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$", K::PREFIX)))
            .examples([format!("{}_01jxf6z2zre4rr3h5t8y5j0v6q", K::PREFIX)])
            .build()
            .into()
    }
}

impl<K: Kind> ToSchema for Id<K> {
    fn name() -> Cow<'static, str> {
        K::TYPE.into()
    }
}

/// Makes ids.
#[derive(Debug)]
pub struct IdSource {
    entropy: Entropy,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The milliseconds and the 12 bits behind them of the last id, as one number.
    last: u64,
    /// Random bytes for the next ids, the used ones first: asking the operating system for each id costs more than all
    /// else about it.
    random: [u8; 512],
    used: usize,
}

impl State {
    fn random(&mut self, entropy: &Entropy) -> u64 {
        if self.used == self.random.len() {
            (self.random, self.used) = (entropy.bytes(), 0);
        }
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.random[self.used..self.used + 8]);
        self.used += 8;
        u64::from_le_bytes(bytes)
    }
}

impl IdSource {
    /// Ids whose random part comes from `entropy`.
    #[must_use]
    pub fn new(entropy: Entropy) -> Self {
        Self { entropy, state: Mutex::new(State { last: 0, random: [0; 512], used: 512 }) }
    }

    /// An id greater than every one before it, also within a millisecond and when the clock stands still or goes back:
    /// the 12 bits behind the milliseconds count, and what they cannot hold is borrowed from the next millisecond
    /// (RFC 9562, section 6.2).
    pub fn next<K: Kind>(&self, now: UnixMs) -> Id<K> {
        let (prefix, random) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.last = (milliseconds(now) << 12).max(state.last + 1);
            (state.last, state.random(&self.entropy))
        };
        let (time, counter) = (u128::from(prefix >> 12), u128::from(prefix & 0xfff));
        Id::new(time << 80 | 7 << 76 | counter << 64 | 0b10 << 62 | u128::from(random >> 2))
    }
}

/// The 48 bits of a UUID v7 that hold the time; what does not fit saturates, so that order is kept.
fn milliseconds(now: UnixMs) -> u64 {
    u64::try_from(now.0).unwrap_or(0).min(0xffff_ffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(uuid: &str) -> String {
        EventId::new(u128::from_str_radix(&uuid.replace('-', ""), 16).unwrap()).to_string()
    }

    #[test]
    fn the_encoding_agrees_with_the_published_vectors_of_typeid() {
        for (uuid, text) in [
            ("00000000-0000-0000-0000-000000000000", "00000000000000000000000000"),
            ("00000000-0000-0000-0000-000000000001", "00000000000000000000000001"),
            ("00000000-0000-0000-0000-00000000000a", "0000000000000000000000000a"),
            ("00000000-0000-0000-0000-000000000010", "0000000000000000000000000g"),
            ("00000000-0000-0000-0000-000000000020", "00000000000000000000000010"),
            ("ffffffff-ffff-ffff-ffff-ffffffffffff", "7zzzzzzzzzzzzzzzzzzzzzzzzz"),
            ("0110c853-1d09-52d8-d73e-1194e95b5f19", "0123456789abcdefghjkmnpqrs"),
            ("01890a5d-ac96-774b-bcce-b302099a8057", "01h455vb4pex5vsknk084sn02q"),
        ] {
            assert_eq!(shown(uuid), format!("evt_{text}"));
            assert_eq!(format!("evt_{text}").parse::<EventId>().unwrap().to_string(), format!("evt_{text}"));
        }
    }

    #[test]
    fn what_is_not_an_id_of_the_kind_does_not_parse() {
        let good = "evt_01h455vb4pex5vsknk084sn02q";
        assert!(good.parse::<EventId>().is_ok());
        assert_eq!(
            good.parse::<EndpointId>().unwrap_err().to_string(),
            "is not the id of a webhook endpoint (we_…)"
        );
        for bad in [
            "",
            "evt_",
            "evt",
            "evt_01h455vb4pex5vsknk084sn02",
            "evt_01h455vb4pex5vsknk084sn02qq",
            "evt_81h455vb4pex5vsknk084sn02q",
            "evt_01H455VB4PEX5VSKNK084SN02Q",
            "evt_01h455vb4pex5vsknk084sn02l",
            "evt_01h455vb4pex5vsknk084sn02é",
            "EVT_01h455vb4pex5vsknk084sn02q",
        ] {
            assert!(bad.parse::<EventId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ids_increase_within_a_millisecond_and_when_the_clock_goes_back() {
        let ids = IdSource::new(Entropy::os());
        let mut last: EventId = ids.next(UnixMs(1_749_651_729_000));
        for step in 0..10_000 {
            let next: EventId = ids.next(UnixMs(1_749_651_729_000 - step));
            assert!(next > last && next.to_string() > last.to_string());
            last = next;
        }
        assert!(last > EventId::lowest_at(UnixMs(1_749_651_729_000)));
        assert!(last < EventId::lowest_at(UnixMs(1_749_651_729_010)));
    }

    #[test]
    fn an_id_is_a_string_in_json() {
        let text = "\"evt_01h455vb4pex5vsknk084sn02q\"";
        let id: EventId = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), text);
        let error = serde_json::from_str::<EndpointId>(text).unwrap_err().to_string();
        assert!(error.starts_with("is not the id of a webhook endpoint (we_…)"), "{error}");
    }

    #[test]
    fn the_lowest_id_of_an_instant_parts_earlier_ids_from_its_own() {
        let (ids, now) = (IdSource::new(Entropy::os()), UnixMs(1_749_651_729_000));
        let earlier: EventId = ids.next(UnixMs(now.0 - 1));
        let lowest = EventId::lowest_at(now);
        assert!(earlier < lowest && lowest < ids.next(now));
        assert_eq!((earlier.made_at(), lowest.made_at()), (UnixMs(now.0 - 1), now));
        assert!(EventId::lowest_at(UnixMs(-1)) <= EventId::lowest_at(UnixMs(0)));
        assert!(EventId::lowest_at(UnixMs(1 << 48)) > lowest, "saturates");
    }

    #[test]
    fn ids_are_uuids_of_version_7() {
        let id: EventId = IdSource::new(Entropy::os()).next(UnixMs(1_749_651_729_123));
        let uuid = uuid::Uuid::from_u128(id.value);
        assert_eq!((uuid.get_version_num(), uuid.get_variant()), (7, uuid::Variant::RFC4122));
        assert_eq!(uuid.get_timestamp().unwrap().to_unix(), (1_749_651_729, 123_000_000));
    }
}
