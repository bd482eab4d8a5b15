//! Sets of rows, as a client writes them: long stretches without a hole.

/// Rows by number, kept as stretches: first and last of each, in order, none touching the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows(Vec<(u64, u64)>);

impl Rows {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.iter().map(|(first, last)| (last - first + 1) as usize).sum()
    }

    /// Whether a row is among them.
    pub fn contains(&self, row: u64) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= row);
        after > 0 && self.0[after - 1].1 >= row
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// Takes a stretch in.
    pub fn insert(&mut self, first: u64, last: u64) {
        match self.0.last_mut() {
            Some(end) if end.1 + 1 == first => end.1 = last,
            Some(end) if end.1 < first => self.0.push((first, last)),
            None => self.0.push((first, last)),
            Some(_) => {
                self.0.push((first, last));
                self.0.sort_unstable();
                let mut joined: Vec<(u64, u64)> = Vec::new();
                for (first, last) in std::mem::take(&mut self.0) {
                    match joined.last_mut() {
                        Some(end) if end.1 + 1 >= first => end.1 = end.1.max(last),
                        _ => joined.push((first, last)),
                    }
                }
                self.0 = joined;
            }
        }
    }

    /// Takes all of another set in.
    pub fn extend(&mut self, other: &Self) {
        for (first, last) in &other.0 {
            self.insert(*first, *last);
        }
    }

    /// Those of `self` that fewer than `least` of the others have.
    pub fn held_by_fewer_than(&self, least: usize, others: &[Self]) -> Vec<u64> {
        // Between two bounds all rows are the same to everybody: one of each stretch is looked at.
        let mut bounds: Vec<u64> =
            others.iter().flat_map(|rows| &rows.0).flat_map(|(first, last)| [*first, last + 1]).collect();
        bounds.sort_unstable();
        let mut found = Vec::new();
        for (first, last) in &self.0 {
            let mut from = *first;
            while from <= *last {
                let next = bounds[bounds.partition_point(|bound| *bound <= from)..].first().copied();
                let until = next.unwrap_or(u64::MAX).min(last + 1);
                if others.iter().filter(|rows| rows.contains(from)).count() < least {
                    found.extend(from..until);
                }
                from = until;
            }
        }
        found
    }

    /// As bytes of a file.
    pub fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(first, last)| [first.to_le_bytes(), last.to_le_bytes()]).flatten().collect()
    }

    /// From a file's bytes; what is no row is left out.
    pub fn decode(bytes: &[u8]) -> Self {
        let mut rows = Self::default();
        for stretch in bytes.as_chunks::<16>().0 {
            let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            rows.insert(number(&stretch[..8]), number(&stretch[8..]));
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::Rows;

    fn rows(stretches: &[(u64, u64)]) -> Rows {
        let mut rows = Rows::default();
        for (first, last) in stretches {
            rows.insert(*first, *last);
        }
        rows
    }

    #[test]
    fn stretches_that_touch_or_overlap_become_one() {
        assert_eq!(rows(&[(1, 3), (4, 9)]), rows(&[(1, 9)]));
        assert_eq!(rows(&[(5, 9), (1, 2), (2, 6)]), rows(&[(1, 9)]));
        let apart = rows(&[(1, 2), (4, 5)]);
        assert_eq!((apart.len(), apart.contains(3), apart.contains(5)), (4, false, true));
        assert_eq!(apart.iter().collect::<Vec<_>>(), vec![1, 2, 4, 5]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let some = rows(&[(1, 700), (1_000, 1_000), (70_000, 70_001)]);
        assert_eq!(Rows::decode(&some.encode()), some);
        assert!(Rows::decode(b"no rows").is_empty());
    }

    #[test]
    fn every_row_that_too_few_hold_is_found() {
        let all = rows(&[(1, 10), (20, 30)]);
        let holders = [rows(&[(1, 30)]), rows(&[(3, 10), (20, 24)]), rows(&[(26, 40)])];
        assert_eq!(all.held_by_fewer_than(2, &holders), vec![1, 2, 25]);
        assert_eq!(all.held_by_fewer_than(1, &holders), Vec::<u64>::new());
        assert_eq!(all.held_by_fewer_than(1, &[]).len(), all.len());
    }
}
