package structs

import "strings"

// signalNames are the signals that a task may be sent, by Linux name.
var signalNames = map[string]bool{}

func init() {
	const names = "SIGABRT SIGALRM SIGBUS SIGCHLD SIGCONT SIGFPE SIGHUP SIGILL SIGINT SIGIO SIGIOT SIGKILL " +
		"SIGNULL SIGPIPE SIGPOLL SIGPROF SIGPWR SIGQUIT SIGSEGV SIGSTKFLT SIGSTOP SIGSYS SIGTERM SIGTRAP " +
		"SIGTSTP SIGTTIN SIGTTOU SIGURG SIGUSR1 SIGUSR2 SIGVTALRM SIGWINCH SIGXCPU SIGXFSZ SIGUNUSED SIGCLD"
	for _, name := range strings.Fields(names) {
		signalNames[name] = true
	}
}

// KnownSignal reports whether a signal name, in any case, may appear in a job.
func KnownSignal(name string) bool { return signalNames[strings.ToUpper(name)] }
