//! Pages as deployed clients know them.

use model::Position;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::reply::Problem;

/// The page size when the client says none.
const DEFAULT_SIZE: u32 = 10;
/// The most that `limit` may ask for.
pub(crate) const MAX_LIMIT: u32 = 500;
/// `limit` when the client says none.
const DEFAULT_LIMIT: u32 = 50;

/// A page that is asked for by its number.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// From 0.
    pub page_number: Option<u32>,
    /// Items a page; more than the server allows are cut to that.
    #[param(minimum = 1)]
    pub page_size: Option<u32>,
}

impl PageQuery {
    /// Number and size, the size cut to `max`.
    pub fn bounded(&self, max: u32) -> Result<(u32, u32), Problem> {
        match self.page_size.unwrap_or(DEFAULT_SIZE) {
            0 => Err(Problem::invalid("pageSize is 0; ask for at least 1")),
            size => Ok((self.page_number.unwrap_or(0), size.min(max))),
        }
    }
}

/// A page by its number.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page<T> {
    /// The newest first.
    pub content: Vec<T>,
    /// From 0.
    pub number: u32,
    /// Items a full page has.
    pub size: u32,
    /// Items that this one has.
    pub number_of_elements: usize,
    /// Items of all pages.
    pub total_elements: u64,
    /// How many pages there are.
    pub total_pages: u64,
    /// Whether it is the first page.
    pub first: bool,
    /// Whether there is none after it.
    pub last: bool,
    /// Whether it has no items.
    pub empty: bool,
}

impl<T> Page<T> {
    /// Page `number` of pages of `size`, which is at least 1, out of `total` items.
    pub fn new(content: Vec<T>, number: u32, size: u32, total: u64) -> Self {
        let pages = total.div_ceil(u64::from(size.max(1)));
        Self {
            number,
            size,
            number_of_elements: content.len(),
            total_elements: total,
            total_pages: pages,
            first: number == 0,
            last: u64::from(number) + 1 >= pages,
            empty: content.is_empty(),
            content,
        }
    }
}

/// A stretch that is asked for by a position.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct RangeQuery {
    /// A position: the first messages after it. `0` = from the beginning.
    pub after: Option<String>,
    /// A position: the last messages before it. Without either: the last there are.
    pub before: Option<String>,
    /// How many, 500 at most; 50 when not said.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Range {
    /// Onwards from a position.
    After(Position),
    /// Back from a position.
    Before(Position),
}

impl RangeQuery {
    /// Which way and how many.
    pub fn read(&self) -> Result<(Range, u32), Problem> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Problem::invalid(format!(
                "limit is {limit}; ask for 1 to {MAX_LIMIT}"
            )));
        }
        let range = match (given(&self.after), given(&self.before)) {
            (Some(_), Some(_)) => {
                return Err(Problem::invalid(
                    "both after and before are given; give one of them",
                ));
            }
            (Some(after), None) => Range::After(position("after", after)?),
            (None, Some(before)) => Range::Before(position("before", before)?),
            (None, None) => Range::Before(Position::END),
        };
        Ok((range, limit))
    }
}

/// What a parameter holds; an empty one is as good as none.
pub(crate) fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|t| !t.is_empty())
}

fn position(name: &str, text: &str) -> Result<Position, Problem> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    let parsed = text.parse::<u64>().ok().filter(|_| is_number);
    parsed.map(|p| Position(p.min(Position::END.0))).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        Problem::invalid(format!(
            "{name} is {shown:?}; it must be a position, a decimal number as in `position` or `next`"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arithmetic_of_pages() {
        let of = |len: usize, number, size, total| {
            let p = Page::new(vec![(); len], number, size, total);
            (p.total_pages, p.first, p.last, p.empty, p.number_of_elements)
        };
        assert_eq!(of(0, 0, 10, 0), (0, true, true, true, 0));
        assert_eq!(of(10, 0, 10, 10), (1, true, true, false, 10));
        assert_eq!(of(10, 0, 10, 11), (2, true, false, false, 10));
        assert_eq!(of(1, 1, 10, 11), (2, false, true, false, 1));
        assert_eq!(of(0, 7, 10, 11), (2, false, true, true, 0));
        assert!(!of(0, u32::MAX, 1, u64::MAX).2);
    }

    #[test]
    fn a_page_size_is_cut_and_never_0() {
        let query = |size| PageQuery {
            page_number: None,
            page_size: size,
        };
        assert_eq!(query(None).bounded(500).unwrap(), (0, 10));
        assert_eq!(query(Some(9999)).bounded(500).unwrap(), (0, 500));
        assert!(
            query(Some(0))
                .bounded(500)
                .unwrap_err()
                .message
                .contains("pageSize")
        );
    }

    #[test]
    fn a_range_has_one_direction_and_a_limit() {
        let query = |after: Option<&str>, before: Option<&str>, limit| RangeQuery {
            after: after.map(str::to_owned),
            before: before.map(str::to_owned),
            limit,
        };
        assert_eq!(
            query(Some("0"), None, None).read().unwrap(),
            (Range::After(Position(0)), 50)
        );
        assert_eq!(
            query(Some(""), Some("7"), Some(500)).read().unwrap(),
            (Range::Before(Position(7)), 500)
        );
        assert_eq!(
            query(None, None, None).read().unwrap().0,
            Range::Before(Position::END)
        );
        let huge = u64::MAX.to_string();
        assert_eq!(
            query(Some(&huge), None, None).read().unwrap().0,
            Range::After(Position::END)
        );
        for (bad, named) in [
            (query(Some("1"), Some("2"), None), "both"),
            (query(Some("x"), None, None), "after"),
            (query(Some("+5"), None, None), "after"),
            (query(None, Some("-1"), None), "before"),
            (query(None, None, Some(0)), "limit"),
            (query(None, None, Some(501)), "limit"),
        ] {
            assert!(bad.read().unwrap_err().message.contains(named), "{bad:?}");
        }
    }
}
