package supir

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// visionServer speaks the part of OpenAI's interface that Endpoint uses: it says
// of the picture how large it is.
func visionServer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.Method + " " + r.URL.Path {
	case "GET /v1/models":
		fmt.Fprint(w, `{"object":"list","data":[{"id":"tiny-vision"},{"id":"other"}]}`)
		return
	case "POST /v1/chat/completions":
	default:
		http.Error(w, `{"error":{"message":"no such place"}}`, http.StatusNotFound)
		return
	}
	var q struct {
		Model    string
		Messages []struct {
			Role    string
			Content []struct {
				Type, Text string
				ImageURL   struct{ URL string } `json:"image_url"`
			}
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		http.Error(w, `{"error":"not JSON"}`, http.StatusBadRequest)
		return
	}
	parts := q.Messages[0].Content
	data, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(parts[1].ImageURL.URL, "data:image/jpeg;base64,"))
	img, decodeErr := jpeg.Decode(bytes.NewReader(data))
	if err := errors.Join(err, decodeErr); err != nil {
		http.Error(w, `{"error":{"message":"no picture"}}`, http.StatusBadRequest)
		return
	}
	query := ""
	if r.URL.RawQuery != "" {
		query = ", ?" + r.URL.RawQuery
	}
	text := fmt.Sprintf("<think>hm</think>%s, asked %q with key %q%s:\n a picture of %v", q.Model, parts[0].Text, r.Header.Get("Authorization"), query, img.Bounds().Size())
	_ = json.NewEncoder(w).Encode(map[string]any{"choices": []any{map[string]any{"message": map[string]string{"role": "assistant", "content": text}}}})
}

func TestEndpoint(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(visionServer))
	defer server.Close()
	for _, c := range []struct {
		endpoint Endpoint
		want     string
	}{
		{Endpoint{URL: server.URL}, fmt.Sprintf("tiny-vision, asked %q with key \"\": a picture of (64,48)", endpointQuestion)},
		{Endpoint{URL: server.URL + "/v1/", Model: "big", Key: "secret", Question: "what?", MaxSide: 32}, `big, asked "what?" with key "Bearer secret": a picture of (32,24)`},
		{Endpoint{URL: server.URL + "/v1/chat/completions", Model: "big", Question: "what?"}, `big, asked "what?" with key "": a picture of (64,48)`},
		{Endpoint{URL: server.URL + "/v1?version=2#top", Key: "secret\n", Question: "what?"}, `tiny-vision, asked "what?" with key "Bearer secret", ?version=2: a picture of (64,48)`},
	} {
		got, err := c.endpoint.Caption(t.Context(), scene(64, 48))
		require.NoError(t, err)
		assert.Equal(t, c.want, got)
	}
}

// TestEndpointFails wants every failure told by what it is, and repeated where
// that may help.
// TestEndpointNewerParameters asks a model that refuses what all others know, as
// OpenAI's reasoning models do.
func TestEndpointNewerParameters(t *testing.T) {
	for _, refusal := range []string{
		"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
		"Unsupported value: 'temperature' does not support 0.2 with this model.",
	} {
		asked := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			body, _ := io.ReadAll(r.Body)
			if bytes.Contains(body, []byte(`"max_tokens"`)) || bytes.Contains(body, []byte(`"temperature"`)) {
				http.Error(w, fmt.Sprintf(`{"error":{"message":%q}}`, refusal), http.StatusBadRequest)
				return
			}
			assert.Contains(t, string(body), `"max_completion_tokens":77`)
			r.Body = io.NopCloser(bytes.NewReader(body))
			visionServer(w, r)
		}))
		text, err := (&Endpoint{URL: server.URL, Model: "thinker", MaxTokens: 77}).Caption(t.Context(), image.NewNRGBA(image.Rect(0, 0, 8, 8)))
		server.Close()
		require.NoError(t, err)
		assert.Contains(t, text, "thinker")
		assert.Equal(t, 2, asked)
	}
}

func TestEndpointFails(t *testing.T) {
	reply := func(status int, header, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if header != "" {
				w.Header().Set("Retry-After", header)
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for _, c := range []struct {
		name     string
		handler  http.HandlerFunc
		want     string
		attempts int
		pauses   []time.Duration
	}{
		{"500", reply(500, "", `{"error":{"message":"out of memory"}}`), "500 Internal Server Error: out of memory", 3, []time.Duration{time.Second, 2 * time.Second}},
		{"429", reply(429, "7", `{"error":"slow down"}`), "429 Too Many Requests: slow down", 3, []time.Duration{7 * time.Second, 7 * time.Second}},
		{"401", reply(401, "", "who are you?"), "401 Unauthorized: who are you?", 1, nil},
		{"key said again", reply(401, "", `{"error":{"message":"no such key: Bearer sk-secret"}}`), "no such key: Bearer [key]", 1, nil},
		{"busy for longer than there is time", reply(503, "3600", "loading"), "503 Service Unavailable: loading", 1, nil},
		{"moved", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusMovedPermanently)
		}, "301 Moved Permanently: the server sends elsewhere, to http", 1, nil},
		{"another server", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://me:pass@localhost:1/v1?key=1", http.StatusTemporaryRedirect)
		}, "the server sends elsewhere, to http://localhost:1/v1", 1, nil},
		{"not JSON", reply(200, "", "<html>welcome</html>"), "not the JSON expected", 1, nil},
		{"other JSON", reply(200, "", `{"answer":42}`), "no choices", 1, nil},
		{"error without a status", reply(200, "", `{"error":"no such model"}`), "no such model", 1, nil},
		{"a list", reply(200, "", `[1]`), "not the JSON expected: something of type array", 1, nil},
		{"choices of another type", reply(200, "", `{"choices":{}}`), "not the JSON expected: choices of type object", 1, nil},
		{"unfinished thoughts", reply(200, "", `{"choices":[{"message":{"content":"<think>what is"}}]}`), "the answer is empty", 1, nil},
		{"empty", reply(200, "", `{"choices":[{"message":{"content":"  \n "}}]}`), "the answer is empty", 1, nil},
		{"too long", reply(200, "", `{"choices":[{"message":{"content":"`+strings.Repeat("word ", maxCaption)+`"}}]}`), "a caption of", 1, nil},
		{"thoughts only", reply(200, "", `{"choices":[{"message":{"content":"<think>hm</think>"}}]}`), "the answer is empty", 1, nil},
		{"refusal", reply(200, "", `{"choices":[{"message":{"content":null,"refusal":"I can't"}}]}`), "refused: I can't", 1, nil},
		{"endless", reply(200, "", strings.Repeat(" ", maxAnswer+1)), "more than 4194304 bytes", 1, nil},
		{"cut short", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "{")
		}, "unexpected EOF", 3, []time.Duration{time.Second, 2 * time.Second}},
	} {
		t.Run(c.name, func(t *testing.T) {
			attempts := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				attempts++
				c.handler(w, r)
			}))
			defer server.Close()
			var pauses []time.Duration
			e := &Endpoint{URL: server.URL, Model: "m", Key: "sk-secret", Timeout: 50 * time.Second, pause: func(_ context.Context, d time.Duration) error {
				pauses = append(pauses, d)
				return nil
			}}
			_, err := e.Caption(t.Context(), scene(8, 8))
			var endpoint *EndpointError
			require.ErrorAs(t, err, &endpoint)
			assert.ErrorContains(t, err, c.want)
			assert.ErrorContains(t, err, server.URL)
			assert.NotContains(t, err.Error(), "secret")
			assert.NotContains(t, err.Error(), "pass")
			assert.Equal(t, c.attempts, attempts)
			assert.Equal(t, c.pauses, pauses)
		})
	}
}

// TestEndpointRecovers repeats a request until it is answered.
func TestEndpointRecovers(t *testing.T) {
	attempts := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if attempts++; attempts < 3 {
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, `{"choices":[{"message":{"content":[{"type":"text","text":"a "},{"type":"text","text":"dog"}]}}]}`)
	}))
	defer server.Close()
	e := &Endpoint{URL: server.URL, Model: "m", pause: func(context.Context, time.Duration) error { return nil }}
	got, err := e.Caption(t.Context(), scene(8, 8))
	require.NoError(t, err)
	assert.Equal(t, "a dog", got)
}

func TestEndpointUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := "http://" + l.Addr().String()
	require.NoError(t, l.Close())
	_, err = (&Endpoint{URL: strings.Replace(address, "//", "//me:pass@", 1), Retries: -1}).Caption(t.Context(), scene(8, 8))
	assert.ErrorContains(t, err, address+"/v1/models: ")
	assert.ErrorContains(t, err, "refused")

	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer slow.Close()
	defer close(release)
	_, err = (&Endpoint{URL: slow.URL, Model: "m", Timeout: 50 * time.Millisecond}).Caption(t.Context(), scene(8, 8))
	assert.ErrorContains(t, err, "no answer within 50ms")
	assert.ErrorIs(t, err, context.DeadlineExceeded)

	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err = (&Endpoint{URL: slow.URL, Model: "m"}).Caption(ctx, scene(8, 8))
	assert.Equal(t, context.Canceled, err)

	for _, bad := range []string{"", "localhost:8080", "ftp://x/", "http://"} {
		_, err = (&Endpoint{URL: bad}).Caption(t.Context(), scene(8, 8))
		assert.ErrorContains(t, err, "not an address")
	}
	var option *OptionError
	_, err = (&Endpoint{URL: slow.URL, Key: "my secret"}).Caption(t.Context(), scene(8, 8))
	assert.ErrorAs(t, err, &option)
	assert.NotContains(t, err.Error(), "secret")
}

// serverVariable makes this test program a server: see TestEndpointServer.
const serverVariable = "SUPIR_TEST_VISION_SERVER"

// TestEndpointServer is the server of TestEndpointProcess where it runs as a
// process of its own: it prints its address and serves until its input ends.
func TestEndpointServer(t *testing.T) {
	if os.Getenv(serverVariable) == "" {
		return // it serves in a process of its own
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: http.HandlerFunc(visionServer)}
	go func() { _ = server.Serve(l) }()
	fmt.Println("serving http://" + l.Addr().String())
	_, _ = io.Copy(io.Discard, os.Stdin)
	require.NoError(t, server.Close())
}

// TestEndpointProcess restores a picture with a caption from another process.
func TestEndpointProcess(t *testing.T) {
	command := exec.Command(os.Args[0], "-test.run=^TestEndpointServer$")
	command.Env = append(os.Environ(), serverVariable+"=1")
	in, err := command.StdinPipe()
	require.NoError(t, err)
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	defer func() {
		require.NoError(t, in.Close())
		require.NoError(t, command.Wait())
	}()
	lines := bufio.NewScanner(out)
	address := ""
	for address == "" && lines.Scan() {
		_, address, _ = strings.Cut(lines.Text(), "serving ")
	}
	require.NotEmpty(t, address)

	m := goldenModel(t)
	opts := quick()
	opts.Steps, opts.CFGStart, opts.CFGEnd = 1, 1, 1
	opts.Captioner = &Endpoint{URL: address, Question: "what?"}
	r, err := m.Restore(t.Context(), scene(64, 64), opts)
	require.NoError(t, err)
	assert.Equal(t, `tiny-vision, asked "what?" with key "": a picture of (64,64)`, r.Caption)
	assert.Equal(t, image.Pt(64, 64), r.Image.Bounds().Size())
	go func() { _, _ = io.Copy(io.Discard, out) }()
}
