-- What wrk sends and how it reports. `-- BYTES` after the URL makes the load a POST with a body of that size.

function init(args)
   if args[1] then
      wrk.method = "POST"
      wrk.body = string.rep("x", tonumber(args[1]))
   end
end

-- One line of exact counts: wrk's own summary is rounded for people ("12.34k").
function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      "counts requests=%d duration_us=%d bytes=%d connect=%d read=%d write=%d timeout=%d status=%d p50_us=%d p99_us=%d\n",
      summary.requests, summary.duration, summary.bytes,
      errors.connect, errors.read, errors.write, errors.timeout, errors.status,
      latency:percentile(50), latency:percentile(99)))
end
