//! What `Connection` names: fields that go no further than the next hop.
//!
//! Each field of the head and each trailer is looked for here, and a head has room for a hundred
//! thousand names. So they are sorted once, and a look-up is a binary search: what a peer sends
//! costs n log n, never fields times names.
//!
//! Source: RFC 9110 section 7.6.1.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cmp::Ordering;

use httparse::Header;

use super::fields;

/// The names, each once, in the order of [`order`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Named {
    /// One behind the other.
    bytes: Box<[u8]>,
    /// Where each ends.
    ends: Box<[usize]>,
}

impl Named {
    /// What all the `Connection` fields of a head list.
    pub(super) fn of(head: &[Header<'_>]) -> Named {
        Named::sort(fields::elements(head, "Connection"))
    }

    fn sort<'l>(list: impl Iterator<Item = &'l [u8]>) -> Named {
        // RFC 9110 section 5.6.1.2: empty elements are no elements.
        let mut names: Vec<&[u8]> = list.filter(|name| !name.is_empty()).collect();
        names.sort_unstable_by(|a, b| order(a, b));
        names.dedup_by(|a, b| order(a, b) == Ordering::Equal);
        let mut ends = Vec::with_capacity(names.len());
        let mut bytes = Vec::with_capacity(names.iter().map(|name| name.len()).sum());
        for name in names {
            bytes.extend_from_slice(name);
            ends.push(bytes.len());
        }
        Named { bytes: bytes.into(), ends: ends.into() }
    }

    /// Whether `name` is among them, in whatever case.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        let (mut from, mut to) = (0, self.ends.len());
        while from < to {
            let middle = from + (to - from) / 2;
            let start = middle.checked_sub(1).map_or(0, |before| self.ends[before]);
            match order(&self.bytes[start..self.ends[middle]], name) {
                Ordering::Less => from = middle + 1,
                Ordering::Equal => return true,
                Ordering::Greater => to = middle,
            }
        }
        false
    }
}

/// By bytes, in lower case.
fn order(a: &[u8], b: &[u8]) -> Ordering {
    a.iter().map(u8::to_ascii_lowercase).cmp(b.iter().map(u8::to_ascii_lowercase))
}

#[cfg(test)]
impl From<&[u8]> for Named {
    fn from(list: &[u8]) -> Named {
        Named::sort(fields::split(list))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_is_found_exactly_where_the_list_has_it(
            list in proptest::collection::vec("[aBc-]{0,3}", 0..12),
            name in "[AbC-]{1,3}",
        ) {
            let named = Named::from(list.join(" ,").as_bytes());
            prop_assert_eq!(
                named.has(name.as_bytes()),
                list.iter().any(|element| element.eq_ignore_ascii_case(&name))
            );
        }
    }

    #[test]
    fn names_are_kept_once_and_commas_alone_are_none() {
        assert_eq!(Named::from(&b", ,,"[..]), Named::default());
        assert_eq!(Named::from(&b"X-A,x-a , X-a"[..]).ends.len(), 1);
    }
}
