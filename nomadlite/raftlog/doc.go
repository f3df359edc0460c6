// Package raftlog keeps a server's Raft log and its votes on disk, in files of
// checksummed records.
//
//	log-<first index, 16 hex digits>   segments of the log, 64 MiB each
//	stable                             term and vote, replaced as a whole
//
// A write is durable when it returns. Open reads everything: an unfinished
// write at the end, which nobody was told of, is cut off; any other damage is
// refused with file and offset, before anything is changed. After a failed
// write the store takes no more: what is on disk is not known then.
//
// The package knows Raft's entries by their frame alone, and nothing of ours.
package raftlog
