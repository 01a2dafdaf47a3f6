//! The home of a user: which connections are theirs.

use std::hash::BuildHasher;

use hashbrown::hash_table::OccupiedEntry;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::ids::ConnRef;

/// Most users have one connection; only further ones cost an allocation.
#[derive(Debug)]
enum Connections {
    One(ConnRef),
    Many(Box<Vec<ConnRef>>),
}

#[derive(Debug)]
struct User {
    name: Box<str>,
    connections: Connections,
}

/// The users that a shard is home of.
///
/// A hash table has up to half of its places empty, and there is a user for nearly every connection: so the table holds
/// no more than where in the list a user is.
#[derive(Debug, Default)]
pub(crate) struct Users {
    list: Vec<User>,
    places: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Users {
    /// Adds a connection. Returns `false`, and adds nothing, when the user has as many as they may.
    pub(crate) fn bind(&mut self, name: Box<str>, conn: ConnRef, at_most: u32) -> bool {
        let Some(place) = self.place(&name) else {
            if at_most > 0 {
                self.insert(name, conn);
            }
            return at_most > 0;
        };
        let known = &mut self.list[place].connections;
        match known {
            Connections::One(first) if at_most > 1 => {
                *known = Connections::Many(Box::new(vec![*first, conn]));
            }
            Connections::Many(all) if all.len() < at_most as usize => all.push(conn),
            _ => return false,
        }
        true
    }

    /// Removes a connection, if it is there.
    pub(crate) fn unbind(&mut self, name: &str, conn: ConnRef) {
        let Some(place) = self.place(name) else {
            return;
        };
        let is_last = match &mut self.list[place].connections {
            Connections::One(only) => *only == conn,
            Connections::Many(all) => {
                all.retain(|other| *other != conn);
                all.is_empty()
            }
        };
        if is_last {
            self.remove(place);
        }
    }

    /// The user's connections.
    pub(crate) fn connections(&self, name: &str) -> &[ConnRef] {
        match self.place(name).map(|place| &self.list[place].connections) {
            None => &[],
            Some(Connections::One(only)) => std::slice::from_ref(only),
            Some(Connections::Many(all)) => all,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.list.len()
    }

    fn place(&self, name: &str) -> Option<usize> {
        let is_it = |place: &u32| *self.list[*place as usize].name == *name;
        let place = self.places.find(self.hasher.hash_one(name), is_it)?;
        Some(*place as usize)
    }

    /// Adds a user who is not there.
    fn insert(&mut self, name: Box<str>, conn: ConnRef) {
        let place = u32::try_from(self.list.len())
            .unwrap_or_else(|_| unreachable!("there are fewer connections"));
        let hash = self.hasher.hash_one(&*name);
        let connections = Connections::One(conn);
        self.list.push(User { name, connections });
        let (list, hasher) = (&self.list, &self.hasher);
        let hash_of = |place: &u32| hasher.hash_one(&*list[*place as usize].name);
        self.places.insert_unique(hash, place, hash_of);
    }

    /// Removes a user; the last of the list takes the place.
    fn remove(&mut self, place: usize) {
        let last = self.list.len() - 1;
        self.at(place).remove();
        if place != last {
            let mut moved = self.at(last);
            *moved.get_mut() = u32::try_from(place).unwrap_or(u32::MAX);
        }
        self.list.swap_remove(place);
    }

    /// What the table has for whoever is at this place of the list.
    fn at(&mut self, place: usize) -> OccupiedEntry<'_, u32> {
        let hash = self.hasher.hash_one(&*self.list[place].name);
        self.places
            .find_entry(hash, |other| *other as usize == place)
            .unwrap_or_else(|_| unreachable!("all of the list are in the table"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::ids::ShardId;

    #[test]
    fn a_user_has_so_many_connections_and_no_more() {
        let conn = |slot| ConnRef::new(ShardId(0), 0, slot);
        let mut users = Users::default();
        assert!(users.bind("u".into(), conn(1), 2));
        assert!(users.bind("u".into(), conn(2), 2));
        assert!(!users.bind("u".into(), conn(3), 2));
        users.unbind("u", conn(3));
        assert_eq!(users.connections("u"), [conn(1), conn(2)]);
        users.unbind("u", conn(1));
        users.unbind("u", conn(2));
        assert_eq!((users.connections("u"), users.len()), (&[][..], 0));
    }

    proptest! {
        #[test]
        fn behaves_as_a_map_under_any_sequence(
            steps in prop::collection::vec((any::<bool>(), 0..20_u32, 0..4_u32), 1..300)
        ) {
            let mut users = Users::default();
            let mut model: BTreeMap<u32, Vec<ConnRef>> = BTreeMap::new();
            for (binds, user, slot) in steps {
                let conn = ConnRef::new(ShardId(0), user, slot);
                let known = model.entry(user).or_default();
                if binds && !known.contains(&conn) {
                    prop_assert_eq!(users.bind(user.to_string().into(), conn, 3), known.len() < 3);
                    if known.len() < 3 {
                        known.push(conn);
                    }
                } else if !binds {
                    users.unbind(&user.to_string(), conn);
                    known.retain(|other| *other != conn);
                }
                model.retain(|_, known| !known.is_empty());
                prop_assert_eq!(users.len(), model.len());
                for user in 0..20 {
                    let known = model.get(&user).map_or(&[][..], Vec::as_slice);
                    prop_assert_eq!(users.connections(&user.to_string()), known);
                }
            }
        }
    }
}
