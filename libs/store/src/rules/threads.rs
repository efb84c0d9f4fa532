//! Who has part in a thread, and to whom one is given.
//!
//! A user *takes part* in a thread under any of its identities: as its desk, but for that of a workgroup, which its
//! agents have as members; as its visitor (or second member); as the agent of an `AGENT` thread; or as a member, and
//! then from the position of its joining on. In what it takes part by several ways, the earliest counts. Both stores
//! ask their tables so.

use crate::Assign;

/// Who may be given a thread: those who are there, if anybody is.
pub(crate) fn candidates(assign: &[Assign]) -> Vec<&Assign> {
    let anybody = assign.iter().any(|a| a.online);
    assign.iter().filter(|a| a.online || !anybody).collect()
}

/// The candidate with the fewest open threads, of several the one who was named first.
pub(crate) fn least_loaded<'a>(open: impl IntoIterator<Item = (&'a Assign, i64)>) -> Option<&'a Assign> {
    let least = open.into_iter().min_by_key(|(_, open)| *open);
    least.map(|(candidate, _)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str, online: bool) -> Assign {
        Assign {
            agent: name.into(),
            user: name.into(),
            online,
        }
    }

    #[test]
    fn a_thread_goes_to_who_is_there_and_has_the_fewest() {
        let names = |all: &[Assign]| {
            let names = candidates(all).into_iter().map(|a| a.agent.to_string());
            names.collect::<Vec<_>>()
        };
        let (a, b, c) = (agent("a", false), agent("b", true), agent("c", true));
        assert_eq!(names(&[a.clone(), b.clone(), c.clone()]), ["b", "c"]);
        assert_eq!(names(std::slice::from_ref(&a)), ["a"], "nobody is there");
        for (open, chosen) in [([2, 1, 3], "b"), ([1, 1, 1], "a"), ([2, 1, 1], "b")] {
            let all = [&a, &b, &c].into_iter().zip(open);
            assert_eq!(least_loaded(all).unwrap().agent.as_str(), chosen);
        }
        assert_eq!(least_loaded([]), None);
    }
}
