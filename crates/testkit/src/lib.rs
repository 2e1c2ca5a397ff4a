//! Small trees, faulty peers and machines in process, for tests only.
