// java.net.http.HttpClient, with its own choice of HTTP version. Arguments: see
// tests/support/clients/programs.py.

import java.io.InputStream;
import java.io.OutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;

public class ByHttpClient {
  public static void main(String[] words) throws Exception {
    var request = HttpRequest.newBuilder(URI.create(words[1]));
    for (int i = 6; i < words.length; i++) {
      String[] pair = words[i].split(": ", 2);
      request.header(pair[0], pair[1]);
    }
    request.method(words[0], body(request, words));
    HttpResponse<InputStream> response =
        HttpClient.newHttpClient().send(request.build(), HttpResponse.BodyHandlers.ofInputStream());
    System.out.println(response.statusCode());
    response.headers().map().forEach((name, values) -> System.out.println(name + ": " + values.get(0)));
    System.out.flush();
    try (InputStream body = response.body(); OutputStream saved = Files.newOutputStream(Path.of(words[5]))) {
      body.transferTo(saved);
    }
    // Its threads would keep the program alive for a while.
    System.exit(0);
  }

  private static BodyPublisher body(HttpRequest.Builder request, String[] words) throws Exception {
    if (words[2].equals("none")) return BodyPublishers.noBody();
    Path file = Path.of(words[3]);
    long offset = Long.parseLong(words[4]);
    if (words[2].equals("form")) {
      request.header("Content-Type", "multipart/form-data; boundary=edge");
      return BodyPublishers.concat(
          BodyPublishers.ofString("--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\""
              + file.getFileName() + "\"\r\nContent-Type: application/octet-stream\r\n\r\n"),
          BodyPublishers.ofFile(file),
          BodyPublishers.ofString("\r\n--edge--\r\n"));
    }
    if (offset == 0) return BodyPublishers.ofFile(file);
    // A stream's length it doesn't know: this one goes out in chunks.
    InputStream rest = Files.newInputStream(file);
    rest.skipNBytes(offset);
    return BodyPublishers.ofInputStream(() -> rest);
  }
}
