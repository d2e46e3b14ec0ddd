//! Which names attributes may have.


