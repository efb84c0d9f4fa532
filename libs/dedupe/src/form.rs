//! The keys of a sealed generation: no more are added, so they are held in a form that is small.

use bytes::{BufMut, Bytes};
use xorf::{BinaryFuse16, Descriptor, Filter as _};

use crate::frame::{self, Damaged, Reader};

/// Fewer keys than this are kept as they are.
const FEW: usize = 256;
const MAGIC: [u8; 4] = *b"LWks";
const SORTED: u8 = 0;
const FUSE: u8 = 1;

/// A set that does not change.
#[derive(Debug)]
pub(crate) enum Form {
    /// The keys in ascending order: 8 bytes each, and no mistakes.
    Sorted(Vec<u64>),
    /// A binary fuse filter: about 2.26 bytes a key, and one in 65,536 others is taken for one of them.
    Fuse {
        /// Keys are combined with this first: nobody outside can choose uids that make the filter fail.
        salt: u64,
        /// 16 bits of fingerprint.
        filter: BinaryFuse16,
    },
}

impl Form {
    /// Of distinct keys in ascending order. Takes 0.1 to 0.4 s for a million.
    pub(crate) fn build(keys: Vec<u64>, salt: u64) -> Self {
        if keys.len() < FEW {
            return Self::Sorted(keys);
        }
        let salted: Vec<u64> = keys.iter().map(|key| key ^ salt).collect();
        // Construction can fail, in theory also without saying so (counters of a byte): a filter that does not have all
        // its keys would let a repetition through, so it is asked for each of them.
        match BinaryFuse16::try_from(&salted) {
            Ok(filter) if salted.iter().all(|key| filter.contains(key)) => Self::Fuse { salt, filter },
            _ => Self::Sorted(keys),
        }
    }

    pub(crate) fn contains(&self, key: u64) -> bool {
        match self {
            Self::Sorted(keys) => keys.binary_search(&key).is_ok(),
            Self::Fuse { salt, filter } => filter.contains(&(key ^ salt)),
        }
    }

    /// Bytes allocated.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Sorted(keys) => keys.capacity() * 8,
            Self::Fuse { filter, .. } => filter.fingerprints.len() * 2,
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = frame::begin(MAGIC, self.bytes() + 64);
        match self {
            Self::Sorted(keys) => {
                out.put_u8(SORTED);
                frame::put_u64s(&mut out, keys);
            }
            Self::Fuse { salt, filter } => {
                out.put_u8(FUSE);
                out.put_u64_le(*salt);
                out.put_u64_le(filter.descriptor.seed);
                out.put_u32_le(filter.descriptor.segment_length);
                out.put_u32_le(filter.descriptor.segment_count_length);
                frame::put_count(&mut out, filter.fingerprints.len());
                filter
                    .fingerprints
                    .iter()
                    .for_each(|print| out.put_u16_le(*print));
            }
        }
        frame::end(out)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader::open(bytes, MAGIC)?;
        let form = match reader.u8()? {
            SORTED => Self::Sorted(sorted(reader.u64s()?)?),
            FUSE => Self::Fuse {
                salt: reader.u64()?,
                filter: fuse(&mut reader)?,
            },
            _ => return Err(Damaged("its form is unknown")),
        };
        reader.close()?;
        Ok(form)
    }
}

fn sorted(keys: Vec<u64>) -> Result<Vec<u64>, Damaged> {
    if keys.is_sorted() {
        Ok(keys)
    } else {
        Err(Damaged("its keys are not in order"))
    }
}

/// A filter looks at three places, which follow from these numbers: they must lie within.
fn fuse(reader: &mut Reader<'_>) -> Result<BinaryFuse16, Damaged> {
    let seed = reader.u64()?;
    let (segment_length, segment_count_length) = (reader.u32()?, reader.u32()?);
    let fingerprints = reader.u16s()?;
    let places = u64::from(segment_count_length) + 2 * u64::from(segment_length);
    let is_whole = segment_length.is_power_of_two()
        && segment_count_length > 0
        && segment_count_length % segment_length == 0
        && u32::try_from(places).is_ok()
        && places == fingerprints.len() as u64;
    if !is_whole {
        return Err(Damaged("its segments do not fit"));
    }
    let descriptor = Descriptor {
        seed,
        segment_length,
        segment_length_mask: segment_length - 1,
        segment_count_length,
    };
    Ok(BinaryFuse16 {
        descriptor,
        fingerprints,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: u64) -> Vec<u64> {
        let mut keys: Vec<u64> = (0..count)
            .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn every_key_is_found_again_after_a_trip_through_bytes() {
        for count in [0, 1, 255, 256, 257, 5_000] {
            let form = Form::build(keys(count), 42);
            let read = Form::decode(&form.encode()).expect("what was written is read");
            assert!(keys(count).iter().all(|key| read.contains(*key)), "{count} keys");
            assert_eq!(matches!(read, Form::Fuse { .. }), count >= 256);
        }
    }

    #[test]
    fn few_others_are_taken_for_keys() {
        let form = Form::build(keys(20_000), 42);
        let mistaken = (0..1_000_000u64).filter(|i| form.contains(i * 2 + 1)).count();
        // 15 are expected; the keys are fixed, so this is the same every time.
        assert!((1..60).contains(&mistaken), "{mistaken} of a million");
    }

    #[test]
    fn keys_that_could_not_be_fused_are_kept_as_they_are() {
        let form = Form::Sorted(keys(5_000));
        let read = Form::decode(&form.encode()).expect("what was written is read");
        assert!(keys(5_000).iter().all(|key| read.contains(*key)) && !read.contains(1));
    }
}
