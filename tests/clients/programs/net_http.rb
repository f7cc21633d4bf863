# Ruby's Net::HTTP. Arguments: see tests/support/clients/programs.py.

require "net/http"

method, url, kind, file, offset, save, *lines = ARGV
uri = URI(url)
request = Net::HTTPGenericRequest.new(method, kind != "none", method != "HEAD", uri)
lines.each { |line| request[line.split(": ", 2)[0]] = line.split(": ", 2)[1] }
if kind == "form"
  request.set_form([["file", File.open(file, "rb")]], "multipart/form-data")
elsif kind == "raw"
  source = File.open(file, "rb")
  source.seek(offset.to_i)
  request["Content-Type"] ||= "application/octet-stream"
  request.content_length = source.size - offset.to_i
  request.body_stream = source
end
Net::HTTP.start(uri.host, uri.port, use_ssl: true, ca_file: ENV.fetch("SSL_CERT_FILE"), max_retries: 0) do |http|
  http.request(request) do |response|
    puts response.code
    response.each_header { |name, value| puts "#{name}: #{value}" }
    $stdout.flush
    File.open(save, "wb") do |saved|
      saved.sync = true
      response.read_body { |piece| saved.write(piece) }
    end
  end
end
