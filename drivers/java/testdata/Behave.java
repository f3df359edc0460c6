import sun.misc.Signal;

/** A task of the conformance suite: standard output, error, milliseconds, exit code, "true" to ignore signals. */
public class Behave {
    public static void main(String[] args) throws Exception {
        if (args[4].equals("true")) {
            for (String name : new String[] {"INT", "TERM"}) {
                Signal.handle(new Signal(name), signal -> {});
            }
        }
        System.out.println(args[0]);
        System.err.println(args[1]);
        Thread.sleep(Long.parseLong(args[2]));
        System.exit(Integer.parseInt(args[3]));
    }
}
