//! Enumerations whose variants are words of the API, of the database and of the configuration.

use utoipa::openapi::{ObjectBuilder, RefOr, Type, schema::Schema};

/// An enum with a word for each variant, in both directions, in JSON, and in the documents of the APIs.
macro_rules! words {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $variant_doc:literal])* $variant:ident $word:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $variant_doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word for it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("must be one of {}", [$($word),*].join(", "))),
                }
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                let meanings = [$(($word, concat!($($variant_doc),*)),)*];
                $crate::words::schema(concat!($($doc),*), &meanings)
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}
pub(crate) use words;

/// A text that is one of these words, each with what it means.
pub(crate) fn schema(meaning: &str, words: &[(&'static str, &str)]) -> RefOr<Schema> {
    let meanings: Vec<_> =
        words.iter().map(|(word, meaning)| format!("- `{word}`: {}", meaning.trim())).collect();
    let description = format!("{}\n\n{}", meaning.trim(), meanings.join("\n"));
    let words = words.iter().map(|(word, _)| *word);
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .enum_values(Some(words))
        .build()
        .into()
}

/// A text that is always this word.
pub(crate) fn constant(word: &'static str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(format!("Always `{word}`.")))
        .enum_values(Some([word]))
        .build()
        .into()
}

/// Types that have one value, a word: what `object` is in the APIs.
macro_rules! constants {
    ($($visibility:vis $name:ident $word:literal,)*) => {$(
        #[doc = concat!("Always `", $word, "`.")]
        #[derive(Clone, Copy, Debug)]
        $visibility struct $name;

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($word)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                $crate::words::constant($word)
            }
        }

        impl utoipa::ToSchema for $name {}
    )*};
}
pub(crate) use constants;
