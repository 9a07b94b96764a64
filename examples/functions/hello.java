#!/usr/lib/jvm/java-17-openjdk-amd64/bin/java --source 17
// Kind native:default, in an image that has a JDK, which compiles this when it starts.
import java.io.*;
import java.util.regex.*;

class Hello {
    static final Pattern NAME = Pattern.compile("\"name\":\\s*(\"(?:[^\"\\\\]|\\\\.)*\")");

    public static void main(String[] arguments) throws IOException {
        var calls = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        var answers = new PrintStream(new FileOutputStream("/proc/self/fd/3"), true, "UTF-8");
        for (String line; (line = calls.readLine()) != null; ) {
            var name = NAME.matcher(line);
            answers.println("{\"hello\": " + (name.find() ? name.group(1) : "\"world\"") + ", \"from\": \"Java\"}");
        }
    }
}
