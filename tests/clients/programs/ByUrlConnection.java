// java.net.HttpURLConnection, as Android apps and tus-java-client use it: no PATCH but a POST with
// X-HTTP-Method-Override, in chunks, after "Expect: 100-continue". Arguments: see
// tests/support/clients/programs.py.

import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

public class ByUrlConnection {
  public static void main(String[] words) throws IOException {
    var connection = (HttpURLConnection) new URL(words[1]).openConnection();
    connection.setInstanceFollowRedirects(false);
    for (int i = 6; i < words.length; i++) {
      String[] pair = words[i].split(": ", 2);
      connection.setRequestProperty(pair[0], pair[1]);
    }
    if (words[0].equals("PATCH")) {
      connection.setRequestMethod("POST");
      connection.setRequestProperty("X-HTTP-Method-Override", "PATCH");
      connection.setRequestProperty("Expect", "100-continue");
    } else {
      connection.setRequestMethod(words[0]);
    }
    if (!words[2].equals("none")) send(connection, words);
    int status = connection.getResponseCode();
    System.out.println(status);
    for (int i = 1; connection.getHeaderFieldKey(i) != null; i++) {
      System.out.println(connection.getHeaderFieldKey(i) + ": " + connection.getHeaderField(i));
    }
    System.out.flush();
    InputStream body = status < 400 ? connection.getInputStream() : connection.getErrorStream();
    try (OutputStream saved = Files.newOutputStream(Path.of(words[5]))) {
      long had = body == null ? 0 : body.transferTo(saved);
      // A body that was cut short looks to it like its end.
      if (status < 400 && !words[0].equals("HEAD") && had < connection.getContentLengthLong()) {
        throw new IOException("cut short");
      }
    }
  }

  private static void send(HttpURLConnection connection, String[] words) throws IOException {
    Path file = Path.of(words[3]);
    long offset = Long.parseLong(words[4]);
    byte[] head = {}, tail = {};
    if (words[2].equals("form")) {
      head = ("--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\""
          + file.getFileName() + "\"\r\nContent-Type: application/octet-stream\r\n\r\n")
          .getBytes(StandardCharsets.UTF_8);
      tail = "\r\n--edge--\r\n".getBytes(StandardCharsets.UTF_8);
      connection.setRequestProperty("Content-Type", "multipart/form-data; boundary=edge");
    }
    connection.setDoOutput(true);
    if (words[0].equals("PATCH")) {
      connection.setChunkedStreamingMode(0);
    } else {
      connection.setFixedLengthStreamingMode(head.length + Files.size(file) - offset + tail.length);
    }
    OutputStream body = connection.getOutputStream();
    body.write(head);
    try (var source = new FileInputStream(file.toFile())) {
      source.skipNBytes(offset);
      source.transferTo(body);
    }
    body.write(tail);
    body.close();
  }
}
