/// Test top: the expert engine with its slot memory banks, written through a plain port.
module engine_bench #(
    parameter int unsigned Positions = 1,
    parameter int unsigned BankWords = 16384,
    parameter int unsigned AxiBytes = 64,
    localparam int unsigned AddressBits = $clog2(BankWords)
) (
    input  logic                     clk_i,
    input  logic                     rst_ni,
    input  logic [              1:0] log2_n_i,
    input  logic [              1:0] log2_m_i,
    input  logic [              7:0] input_blocks_i,
    input  logic [             12:0] input_steps_i,
    input  logic [              7:0] output_blocks_i,
    input  logic [             12:0] output_steps_i,
    input  logic [              9:0] header_words_i,
    input  logic                     start_i,
    input  logic [             31:0] base_i,
    input  logic [             31:0] available_i,
    output logic                     busy_o,
    output logic                     done_o,
    output logic [             31:0] hidden_maximum_o,
    output logic                     issue_o,
    output logic                     starved_o,
    input  logic                     token_write_i,
    input  logic [              7:0] token_beat_i,
    input  logic [   8*AxiBytes-1:0] token_data_i,
    input  logic [    Positions-1:0] write_i,
    input  logic [             31:0] write_address_i,
    input  logic [   8*AxiBytes-1:0] write_data_i,
    output logic [             15:0] result_beats_o,
    input  logic                     result_read_i,
    input  logic [              7:0] result_beat_i,
    output logic [   8*AxiBytes-1:0] result_data_o
);

  logic read_even, read_odd;
  logic [AddressBits-2:0] read_even_address, read_odd_address;
  localparam int unsigned TokenBeatBits = $clog2(1024 / AxiBytes);
  localparam int unsigned ResultBeatBits = $clog2(4096 / AxiBytes);
  logic [ResultBeatBits:0] result_beats;
  logic [8*AxiBytes*Positions-1:0] read_even_data, read_odd_data;

  expert_engine #(
      .Positions(Positions),
      .BankWords(BankWords),
      .AxiBytes(AxiBytes)
  ) u_engine (
      .clk_i,
      .rst_ni,
      .log2_n_i,
      .log2_m_i,
      .input_blocks_i,
      .input_steps_i,
      .output_blocks_i,
      .output_steps_i,
      .header_words_i,
      .start_i,
      .base_i(base_i[AddressBits-1:0]),
      .available_i(available_i[AddressBits:0]),
      .busy_o,
      .done_o,
      .hidden_maximum_o,
      .issue_o,
      .starved_o,
      .token_write_i,
      .token_beat_i(token_beat_i[TokenBeatBits-1:0]),
      .token_data_i,
      .read_even_o(read_even),
      .read_even_address_o(read_even_address),
      .read_even_data_i(read_even_data),
      .read_odd_o(read_odd),
      .read_odd_address_o(read_odd_address),
      .read_odd_data_i(read_odd_data),
      .result_beats_o(result_beats),
      .result_read_i,
      .result_beat_i(result_beat_i[ResultBeatBits-1:0]),
      .result_data_o
  );

  assign result_beats_o = 16'(result_beats);

  for (genvar p = 0; p < Positions; p++) begin : g_bank
    slot_memory #(
        .Words(BankWords),
        .AxiBytes(AxiBytes)
    ) u_bank (
        .clk_i,
        .write_i(write_i[p]),
        .write_address_i(write_address_i[AddressBits-1:0]),
        .write_data_i,
        .read_even_i(read_even),
        .read_even_address_i(read_even_address),
        .read_even_data_o(read_even_data[8*AxiBytes*p+:8*AxiBytes]),
        .read_odd_i(read_odd),
        .read_odd_address_i(read_odd_address),
        .read_odd_data_o(read_odd_data[8*AxiBytes*p+:8*AxiBytes])
    );
  end

endmodule
