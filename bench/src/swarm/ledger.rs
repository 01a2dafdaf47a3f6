//! What one member has heard, checked as it comes: everything once, in order, gaps only when announced.

/// The account of one member, by the numbers of the publications.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Number of the first publication heard; 0 for none.
    pub first: u64,
    /// Number of the last one heard, told to be skipped, or known to lie before the membership; 0 for none.
    pub last: u64,
    /// Publications heard, those that should not have come included.
    pub received: u64,
    /// Publications that the server said it skipped.
    pub skipped: u64,
    /// Times it said so.
    pub gaps: u32,
    /// Publications passed over without a word.
    pub lost: u64,
    /// Publications that came again.
    pub duplicated: u64,
    /// Publications that came after a later one.
    pub reordered: u64,
    /// Publications whose content was not that of their number, and gaps that do not begin where the member is.
    pub corrupted: u64,
    /// Number of the last publication before the membership, where the protocol says.
    pub base: u64,
    has_begun: bool,
}

impl Ledger {
    /// What follows begins after this number.
    pub(super) fn begin(&mut self, number: u64) {
        self.base = number;
        self.follow(number);
    }

    fn follow(&mut self, number: u64) {
        self.last = number;
        self.has_begun = true;
    }

    /// A publication was heard.
    pub(super) fn heard(&mut self, number: u64) {
        self.received += 1;
        if self.first == 0 {
            self.first = number;
        }
        if !self.has_begun {
            self.follow(number);
        } else if number > self.last {
            self.lost += number - self.last - 1;
            self.last = number;
        } else if number < self.last && self.lost > 0 {
            // One of those that seemed lost.
            self.lost -= 1;
            self.reordered += 1;
        } else {
            self.duplicated += 1;
        }
    }

    /// So many were heard, of consecutive numbers.
    pub(super) fn heard_all(&mut self, first: u64, count: u64) {
        if self.has_begun && self.first > 0 && first == self.last + 1 {
            self.received += count;
            self.last += count;
            return;
        }
        for number in first..first + count {
            self.heard(number);
        }
    }

    /// The server says that it skipped these.
    pub(super) fn gap(&mut self, from: u64, to: u64) {
        self.gaps += 1;
        if from != self.last + 1 || to < from {
            self.corrupted += 1;
            return;
        }
        self.skipped += to - from + 1;
        self.last = to;
        self.has_begun = true;
    }

    /// Something came whose content does not belong to its number.
    pub(super) fn corrupt(&mut self) {
        self.corrupted += 1;
    }

    /// Whether all there is, was heard exactly once and in order, or announced as skipped.
    #[must_use]
    pub fn is_faithful(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.reordered == 0 && self.corrupted == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(numbers: &[u64]) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.begin(0);
        for &number in numbers {
            ledger.heard(number);
        }
        ledger
    }

    #[test]
    fn every_kind_of_unfaithfulness_is_told_apart() {
        let counts = |numbers: &[u64]| {
            let it = heard(numbers);
            (it.lost, it.duplicated, it.reordered, it.is_faithful())
        };
        assert_eq!(counts(&[1, 2, 3]), (0, 0, 0, true));
        assert_eq!(counts(&[2, 3]), (1, 0, 0, false), "the first is missing");
        assert_eq!(counts(&[1, 4]), (2, 0, 0, false));
        assert_eq!(counts(&[1, 1, 2]), (0, 1, 0, false));
        assert_eq!(counts(&[1, 3, 2]), (0, 0, 1, false));
        assert_eq!(counts(&[1, 2, 1]), (0, 1, 0, false));
    }

    #[test]
    fn many_at_once_count_like_each_of_them() {
        for begins in [0, 4, 5, 6, 9] {
            for (first, count) in [(5, 3), (1, 10), (7, 1), (6, 0)] {
                let mut one_by_one = heard(&[]);
                one_by_one.begin(begins);
                one_by_one.heard(5);
                let mut at_once = one_by_one;
                at_once.heard_all(first, count);
                (first..first + count).for_each(|number| one_by_one.heard(number));
                assert_eq!(
                    at_once, one_by_one,
                    "{begins}, then 5, then {count} from {first}"
                );
            }
        }
    }

    #[test]
    fn an_announced_gap_is_no_loss_and_a_wrong_one_is_noticed() {
        let mut ledger = heard(&[1, 2]);
        ledger.gap(3, 9);
        ledger.heard(10);
        assert!(ledger.is_faithful());
        assert_eq!((ledger.received, ledger.skipped, ledger.gaps), (3, 7, 1));
        ledger.gap(12, 13);
        assert_eq!(ledger.corrupted, 1, "11 is neither heard nor announced");
    }

    #[test]
    fn without_a_beginning_the_first_one_is_taken_as_it_comes() {
        let mut ledger = Ledger::default();
        ledger.heard(17);
        ledger.heard(18);
        assert!(ledger.is_faithful());
        assert_eq!((ledger.first, ledger.last), (17, 18));
    }
}
