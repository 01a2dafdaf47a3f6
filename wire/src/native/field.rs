//! How borrowed text and bytes become archive fields.
//!
//! rkyv archives `String` and `Vec<u8>`; messages here borrow instead, so that encoding copies a payload once, into the
//! output, and decoding not at all. These two adapters give `&str` and `&[u8]` the archived form of their owned counterparts.

use rkyv::Place;
use rkyv::SerializeUnsized;
use rkyv::rancor::{Fallible, Source};
use rkyv::ser::{Positional, Writer};
use rkyv::string::{ArchivedString, StringResolver};
use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::with::{ArchiveWith, SerializeWith};

/// Archives `&str` as a `String`.
#[derive(Debug)]
pub(super) struct Text;

impl<'a> ArchiveWith<&'a str> for Text {
    type Archived = ArchivedString;
    type Resolver = StringResolver;

    fn resolve_with(field: &&'a str, resolver: StringResolver, out: Place<ArchivedString>) {
        ArchivedString::resolve_from_str(field, resolver, out);
    }
}

impl<'a, S> SerializeWith<&'a str, S> for Text
where
    S: Fallible<Error: Source> + ?Sized,
    str: SerializeUnsized<S>,
{
    fn serialize_with(field: &&'a str, serializer: &mut S) -> Result<StringResolver, S::Error> {
        ArchivedString::serialize_from_str(field, serializer)
    }
}

/// Archives `&[u8]` as a `Vec<u8>`.
#[derive(Debug)]
pub(super) struct Bytes;

impl<'a> ArchiveWith<&'a [u8]> for Bytes {
    type Archived = ArchivedVec<u8>;
    type Resolver = VecResolver;

    fn resolve_with(field: &&'a [u8], resolver: VecResolver, out: Place<ArchivedVec<u8>>) {
        ArchivedVec::resolve_from_len(field.len(), resolver, out);
    }
}

impl<'a, S> SerializeWith<&'a [u8], S> for Bytes
where
    S: Fallible + Writer + ?Sized,
{
    fn serialize_with(field: &&'a [u8], serializer: &mut S) -> Result<VecResolver, S::Error> {
        let position = serializer.pos();
        serializer.write(field)?;
        Ok(VecResolver::from_pos(position))
    }
}
