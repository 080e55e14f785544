//! How many nodes the radix tree has in which Redis keeps the nodes of a stream. We have none, but
//! XINFO STREAM tells the number.

use super::id::StreamId;

/// Nodes of a compressed radix tree over these ids, which come in their order.
///
/// Each key ends in a node of its own. Where keys part there is a node; a run of bytes between two
/// such places is one node more.
pub fn node_count(ids: impl Iterator<Item = StreamId>) -> usize {
    const LEN: usize = 16;
    // The depths at which the last key parted from earlier ones, from the root down.
    let mut forks: Vec<usize> = Vec::with_capacity(LEN);
    let (mut nodes, mut last): (usize, Option<[u8; LEN]>) = (0, None);
    for id in ids {
        let key = id.to_bytes();
        let Some(before) = last.replace(key) else {
            // The bytes of the key, and its end.
            nodes += 2;
            continue;
        };
        let common = before.iter().zip(&key).take_while(|(a, b)| a == b).count();
        let mut below = LEN;
        while let Some(fork) = forks.pop_if(|fork| *fork > common) {
            below = fork;
        }
        if forks.last() != Some(&common) {
            // A new fork cuts the run from the fork above (or the root) to the one below (or the
            // end). Runs of no bytes are no nodes.
            let above = forks.last().map_or(0, |fork| fork + 1);
            nodes += 1 + usize::from(common > above) + usize::from(below > common + 1);
            nodes -= usize::from(below > above);
            forks.push(common);
        }
        // The rest of the new key, and its end.
        nodes += 1 + usize::from(LEN > common + 1);
    }
    nodes.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(ids: &[(u64, u64)]) -> usize {
        node_count(ids.iter().map(|(ms, seq)| StreamId::new(*ms, *seq)))
    }

    #[test]
    fn counts_are_those_of_a_real_server() {
        assert_eq!(count(&[]), 1);
        assert_eq!(count(&[(1, 1)]), 2);
        // A run of 15 bytes, a fork, two ends.
        assert_eq!(count(&[(1, 1), (1, 2)]), 4);
        assert_eq!(count(&[(1, 1), (1, 2), (1, 3)]), 5);
        // The first byte differs: a fork, a run for each, two ends.
        assert_eq!(count(&[(1, 1), (1 << 60, 1)]), 5);
        // A fork in the first half, then one in the last byte of its second branch.
        assert_eq!(count(&[(1, 1), (2, 1), (2, 2)]), 8);
        assert_eq!(count(&[(1, 1), (1, 2), (2, 1)]), 8);
    }
}
