use super::{Malformed, Wire};
use crate::pb;
use contract::persistence::Standing;

impl Wire for Standing {
    type Message = i32;

    fn to_wire(self) -> i32 {
        match self {
            Standing::Free => pb::Standing::Free.into(),
            Standing::Proven => pb::Standing::Proven.into(),
            Standing::Directory => pb::Standing::Directory.into(),
        }
    }

    fn from_wire(m: i32) -> Result<Self, Malformed> {
        match pb::Standing::try_from(m) {
            Ok(pb::Standing::Free) => Ok(Standing::Free),
            Ok(pb::Standing::Proven) => Ok(Standing::Proven),
            Ok(pb::Standing::Directory) => Ok(Standing::Directory),
            Ok(pb::Standing::Unspecified) | Err(_) => Err(Malformed::new(
                "what is known of a uid",
                format!("{m} is no standing that is known"),
            )),
        }
    }
}
